/** `knarr up`: starts a whole cluster in this process (or, with --detach, in one left behind) and says how to reach it. */
import { spawn } from 'node:child_process';
import { constants, openSync } from 'node:fs';
import { access, readFile, rename, writeFile } from 'node:fs/promises';
import { flushCompileCache } from 'node:module';
import { createServer } from 'node:net';
import { dirname, join, resolve } from 'node:path';
import { SystemClock } from '../base/clock.ts';
import type { Clock } from '../base/clock.ts';
import { DirectoryError, makeDirectory } from '../base/directories.ts';
import { giveBackMemoryWhenIdle } from '../base/idle-memory.ts';
import { parseCidr } from '../base/ip.ts';
import { ioTimer } from '../base/io-time.ts';
import { createLogger, formatJson, formatText } from '../base/logger.ts';
import type { Logger, LogLevel } from '../base/logger.ts';
import { SystemRandom } from '../base/random.ts';
import { optionalComponents } from '../cluster/components.ts';
import type { OptionalComponent } from '../cluster/components.ts';
import type { ClusterOptions } from '../cluster/cluster.ts';
import { askServer, serveControl } from '../cluster/control.ts';
import type { ServerStatus } from '../cluster/control.ts';
import { BrokenKubeconfigError, checkKubeconfig, mergeKubeconfig, renderKubeconfig } from '../cluster/kubeconfig.ts';
import type { KubeconfigEntry } from '../cluster/kubeconfig.ts';
import { dataDirLayout, defaultDataDir, defaultKubeconfig } from '../cluster/paths.ts';
import { ClusterRangeError, clusterRanges, defaultClusterCIDR, defaultServiceRange } from '../cluster/ranges.ts';
import type { Machine, MachineOptions } from '../cluster/real/machine.ts';
import type { ApiChoice } from '../cluster/api-choice.ts';
import type { SecurityFlags } from '../cluster/processes/security.ts';
import { gitVersion } from '../cluster/version.ts';
import { UsageError, UserError } from './errors.ts';
import { valuesOf } from './components/component.ts';
import { apiChoice, apiFlags } from './components/api-flags.ts';
import { auditDefaults, auditValues, commonAuditFlags } from './components/audit-flags.ts';
import { encryptionFlags, encryptionValues, operationFlags, operationValues } from './components/serving-flags.ts';
import { securityFlags, securityValues } from './components/security-flags.ts';
import type { ApiServerExtraFlags } from '../cluster/processes/api-server-extras.ts';
import type { CommandSpec, Flag, FlagValues } from './flags.ts';
import { createProgress } from './progress.ts';

export const dataDirFlag: Flag = {
  name: 'data-dir',
  kind: 'string',
  value: 'DIR',
  help: "where the cluster lives (default: the user's data folder)",
};

export function dataDirOf(values: FlagValues): string {
  return resolve((values['data-dir'] as string | undefined) ?? defaultDataDir(process.env, process.platform));
}

type ClusterAddresses = Pick<
  ClusterOptions,
  'serviceClusterIPRange' | 'clusterCIDR' | 'loadBalancerPool' | 'nodeCIDRMaskSizeIPv4' | 'nodeCIDRMaskSizeIPv6'
>;

export interface UpSettings extends ApiServerExtraFlags {
  readonly dataDir: string;
  readonly port: number;
  readonly bindAddress: string;
  readonly nodes: number;
  readonly runtime: 'auto' | 'containerd' | 'simulated';
  /** Of a real node. */
  readonly machine: MachineOptions;
  readonly nodeMonitorGracePeriodMs: number;
  /** Of `createCluster`. */
  readonly ranges: ClusterAddresses;
  readonly disable: readonly OptionalComponent[];
  readonly kubeconfig: string | undefined;
  readonly etcdServers: readonly string[];
  /** PEM files for `etcdServers`: authority, client certificate, its key. */
  readonly etcdFiles: { readonly ca?: string; readonly cert?: string; readonly key?: string };
  readonly security: SecurityFlags;
  readonly apis: ApiChoice;
  readonly detach: boolean;
  readonly logLevel: LogLevel;
  readonly logFormat: 'text' | 'json';
}

const flags: readonly Flag[] = [
  dataDirFlag,
  { name: 'port', kind: 'int', default: 6443, help: "the API server's port; 0 picks a free one" },
  { name: 'bind-address', kind: 'string', value: 'ADDRESS', default: '127.0.0.1', help: 'the address to serve on' },
  { name: 'nodes', kind: 'int', default: 1, help: 'how many nodes' },
  {
    name: 'runtime',
    kind: 'string',
    choices: ['auto', 'containerd', 'simulated'],
    default: 'auto',
    help: 'what runs the containers; auto: a container runtime where one answers and this is root, else simulated',
  },
  {
    name: 'container-runtime-endpoint',
    kind: 'string',
    value: 'SOCKET',
    help: "the container runtime's socket (default: containerd's or CRI-O's)",
  },
  { name: 'node-name', kind: 'string', value: 'NAME', help: "a real node's name (default: the host name)" },
  {
    name: 'node-ip',
    kind: 'string',
    value: 'ADDRESS,…',
    help: 'the address that pods and other machines reach this one at, one a family',
  },
  {
    name: 'root-dir',
    kind: 'string',
    value: 'DIR',
    default: '/var/lib/kubelet',
    help: "a real node's pods and volumes",
  },
  {
    name: 'cni-conf-dir',
    kind: 'string',
    value: 'DIR',
    default: '/etc/cni/net.d',
    help: 'where the runtime reads its network configuration; ours is written there when none stands',
  },
  {
    name: 'cgroup-root',
    kind: 'string',
    value: 'PATH',
    default: '/',
    help: "the cgroup below which a real node's pods run",
  },
  { name: 'kubelet-port', kind: 'int', default: 10250, help: "the port of a real node's kubelet" },
  {
    name: 'overlay',
    kind: 'string',
    choices: ['auto', 'always', 'never'],
    default: 'auto',
    help: 'VXLAN between real nodes; auto: where one is on no network of the other',
  },
  {
    name: 'control-plane-taint',
    kind: 'bool',
    default: false,
    help: 'keep ordinary pods away from this node, for machines that join',
  },
  {
    name: 'node-monitor-grace-period',
    kind: 'duration',
    default: 50_000,
    help: 'how long a node may be silent before it counts as unhealthy; nodes renew their leases every 10 s',
  },
  {
    name: 'service-cluster-ip-range',
    kind: 'string',
    value: 'CIDR,…',
    help: 'range of cluster IPs (default 10.96.0.0/12); two of different families for dual stack, the primary one first',
  },
  {
    name: 'cluster-cidr',
    kind: 'string',
    value: 'CIDR,…',
    help: 'range of pod addresses (default 10.244.0.0/16); two of different families for dual stack',
  },
  {
    name: 'load-balancer-pool',
    kind: 'list',
    value: 'CIDR,…',
    help: "addresses for Services of type LoadBalancer, free ones of the machine's network (default: a real node's own address; 127.0.1.0/24 with simulated ones)",
  },
  {
    name: 'node-cidr-mask-size-ipv4',
    kind: 'int',
    help: 'size of the range that a node gets of it (default 24)',
  },
  { name: 'node-cidr-mask-size-ipv6', kind: 'int', help: 'the same of an IPv6 range (default 64)' },
  { name: 'disable', kind: 'list', choices: optionalComponents, help: 'components to leave out' },
  {
    name: 'kubeconfig',
    kind: 'string',
    value: 'FILE',
    help: 'write the kubeconfig there and touch nothing else (default: merge into $KUBECONFIG or ~/.kube/config)',
  },
  { name: 'etcd-servers', kind: 'list', value: 'URL,…', help: 'use this etcd cluster instead of the built-in store' },
  { name: 'etcd-cafile', kind: 'string', value: 'FILE', help: "authority of etcd's certificate" },
  { name: 'etcd-certfile', kind: 'string', value: 'FILE', help: 'client certificate for etcd' },
  { name: 'etcd-keyfile', kind: 'string', value: 'FILE', help: 'its key' },
  ...apiFlags,
  ...commonAuditFlags,
  ...encryptionFlags,
  ...operationFlags,
  ...securityFlags({ issuer: 'https://kubernetes.default.svc.cluster.local', modes: ['Node', 'RBAC'] }),
  { name: 'detach', kind: 'bool', default: false, help: 'return when the cluster is ready and leave it running' },
  {
    name: 'log-level',
    kind: 'string',
    choices: ['debug', 'info', 'warn', 'error'],
    default: 'warn',
    help: 'what is logged to standard error',
  },
  { name: 'log-format', kind: 'string', choices: ['text', 'json'], default: 'text', help: 'form of the log' },
];

function rangesOf(values: FlagValues): ClusterAddresses {
  const text = (name: string): string | undefined => values[name] as string | undefined;
  const size = (name: string): number | undefined => values[name] as number | undefined;
  const services = text('service-cluster-ip-range');
  const pods = text('cluster-cidr');
  const [size4, size6] = [size('node-cidr-mask-size-ipv4'), size('node-cidr-mask-size-ipv6')];
  const pool = values['load-balancer-pool'] as string[] | undefined;
  for (const range of pool ?? [])
    if (parseCidr(range) === undefined)
      throw new UsageError(
        `invalid argument "${range}" for "--load-balancer-pool": it is no range such as 192.0.2.240/28`,
      );
  const given = {
    ...(pool === undefined ? {} : { loadBalancerPool: pool }),
    ...(services === undefined ? {} : { serviceClusterIPRange: services }),
    ...(pods === undefined ? {} : { clusterCIDR: pods }),
    ...(size4 === undefined ? {} : { nodeCIDRMaskSizeIPv4: size4 }),
    ...(size6 === undefined ? {} : { nodeCIDRMaskSizeIPv6: size6 }),
  };
  try {
    clusterRanges({ services: services ?? defaultServiceRange, pods: pods ?? defaultClusterCIDR, ...given });
  } catch (e) {
    if (e instanceof ClusterRangeError) throw new UsageError(e.message);
    throw e;
  }
  return given;
}

function settingsOf(values: FlagValues): UpSettings {
  const port = values['port'] as number;
  const nodes = values['nodes'] as number;
  if (port < 0 || port > 65_535)
    throw new UsageError(`invalid argument "${port}" for "--port": it is between 0 and 65535`);
  if (nodes < 0 || nodes > 5000)
    throw new UsageError(`invalid argument "${nodes}" for "--nodes": it is between 0 and 5000`);
  const file = (name: string): string | undefined => values[name] as string | undefined;
  const [ca, cert, key] = [file('etcd-cafile'), file('etcd-certfile'), file('etcd-keyfile')];
  if ((cert === undefined) !== (key === undefined))
    throw new UsageError('--etcd-certfile and --etcd-keyfile go together');
  const etcdServers = (values['etcd-servers'] as string[] | undefined) ?? [];
  if (etcdServers.length === 0 && (ca ?? cert) !== undefined)
    throw new UsageError('--etcd-cafile, --etcd-certfile and --etcd-keyfile need --etcd-servers');
  return {
    dataDir: dataDirOf(values),
    port,
    bindAddress: values['bind-address'] as string,
    nodes,
    runtime: values['runtime'] as UpSettings['runtime'],
    machine: {
      ...(file('container-runtime-endpoint') === undefined ? {} : { endpoint: file('container-runtime-endpoint')! }),
      ...(file('node-name') === undefined ? {} : { nodeName: file('node-name')! }),
      ...(file('node-ip') === undefined ? {} : { address: file('node-ip')! }),
      rootDir: file('root-dir')!,
      cniConfDir: file('cni-conf-dir')!,
      cgroupRoot: file('cgroup-root')!,
      kubeletPort: values['kubelet-port'] as number,
      overlay: values['overlay'] as 'auto' | 'always' | 'never',
      controlPlaneTaint: values['control-plane-taint'] === true,
    },
    nodeMonitorGracePeriodMs: values['node-monitor-grace-period'] as number,
    ranges: rangesOf(values),
    disable: (values['disable'] as OptionalComponent[] | undefined) ?? [],
    kubeconfig: values['kubeconfig'] as string | undefined,
    etcdServers,
    etcdFiles: {
      ...(ca === undefined ? {} : { ca }),
      ...(cert === undefined ? {} : { cert }),
      ...(key === undefined ? {} : { key }),
    },
    security: securityValues(valuesOf(values)),
    apis: apiChoice(valuesOf(values)),
    audit: auditValues(valuesOf({ ...auditDefaults, ...given(values) })),
    encryption: encryptionValues(valuesOf(values)),
    operations: operationValues(valuesOf(values, flags)),
    tracingConfigFile: values['tracing-config-file'] as string | undefined,
    detach: values['detach'] as boolean,
    logLevel: values['log-level'] as LogLevel,
    logFormat: values['log-format'] as 'text' | 'json',
  };
}

/** Without those that were left out. */
function given(values: FlagValues): FlagValues {
  return Object.fromEntries(Object.entries(values).filter(([, v]) => v !== undefined));
}

async function readIfThere(file: string): Promise<string | undefined> {
  try {
    return await readFile(file, 'utf8');
  } catch (e) {
    if ((e as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new UserError(`cannot read ${file}: ${(e as Error).message}`, { cause: e });
  }
}

async function readEtcdTls(s: UpSettings): Promise<{ ca?: string; cert?: string; key?: string } | undefined> {
  const entries = Object.entries(s.etcdFiles);
  if (entries.length === 0) return undefined;
  const read = entries.map(async ([name, file]) => {
    const text = await readIfThere(file);
    if (text === undefined) throw new UserError(`there is no ${file}, named by --etcd-${name}file`);
    if (!text.includes('-----BEGIN ')) throw new UserError(`${file}, named by --etcd-${name}file, holds no PEM`);
    return [name, text] as const;
  });
  return Object.fromEntries(await Promise.all(read));
}

/** Fails before anything is changed when the data directory, the kubeconfig or the port will not do. */
async function checkGround(s: UpSettings): Promise<void> {
  const running = await askServer(s.dataDir, 'status');
  if (running !== undefined)
    throw new UserError(
      `${s.dataDir} is in use by a running cluster (process ${running.pid}, ${running.url}): stop it with "knarr down", or choose another --data-dir`,
    );
  const target = s.kubeconfig ?? defaultKubeconfig(process.env, process.platform);
  if (s.kubeconfig === undefined) {
    const text = await readIfThere(target);
    if (text !== undefined)
      try {
        await checkKubeconfig(text);
      } catch (e) {
        if (!(e instanceof BrokenKubeconfigError)) throw e;
        throw new UserError(
          `${target} is no kubeconfig (${e.message}): mend it, or name another file with --kubeconfig FILE`,
          { cause: e },
        );
      }
  }
  for (let dir = s.dataDir; ; dir = dirname(dir)) {
    try {
      await access(dir, constants.W_OK | constants.X_OK);
      break;
    } catch (e) {
      const code = (e as NodeJS.ErrnoException).code;
      if (code === 'ENOENT' && dirname(dir) !== dir) continue;
      const what = code === 'ENOTDIR' ? 'is not a directory' : 'cannot be written to';
      throw new UserError(`the data directory ${s.dataDir} ${what} (${dir}): choose another with --data-dir`, {
        cause: e,
      });
    }
  }
  await checkPort(s.bindAddress, s.port);
  if (s.etcdServers.length > 0) {
    const { etcdFault } = await import('../cluster/check-etcd.ts');
    const fault = await etcdFault(s.etcdServers, await readEtcdTls(s));
    if (fault !== undefined)
      throw new UserError(
        `cannot reach etcd at ${s.etcdServers.join(',')} (${fault}): start it, or name another with --etcd-servers`,
      );
  }
}

function makeDataDir(dir: string): void {
  try {
    makeDirectory(dir, 0o700);
  } catch (e) {
    if (!(e instanceof DirectoryError)) throw e;
    throw new UserError(`${e.message}: choose another with --data-dir`, { cause: e });
  }
}

function checkPort(host: string, port: number): Promise<void> {
  return new Promise((done, fail) => {
    const probe = createServer();
    probe.once('error', (e: NodeJS.ErrnoException) => {
      if (e.code === 'EADDRINUSE')
        fail(
          new UserError(`port ${port} on ${host} is in use: choose another with --port (0 picks a free one)`, {
            cause: e,
          }),
        );
      else if (e.code === 'EADDRNOTAVAIL' || e.code === 'ENOTFOUND' || e.code === 'EINVAL')
        fail(new UserError(`${host} is no address of this machine: choose another --bind-address`, { cause: e }));
      else
        fail(
          new UserError(`cannot serve on ${host}:${port}: ${e.message}; choose another --bind-address or --port`, {
            cause: e,
          }),
        );
    });
    probe.listen({ host, port, exclusive: true }, () => probe.close(() => done()));
  });
}

/** Writes a secret file whole or not at all, readable by its owner alone. */
async function writeWhole(file: string, text: string): Promise<void> {
  makeDirectory(dirname(file));
  const temporary = `${file}.knarr-${process.pid}`;
  await writeFile(temporary, text, { mode: 0o600 });
  await rename(temporary, file);
}

async function writeKubeconfig(s: UpSettings, entry: KubeconfigEntry): Promise<string> {
  if (s.kubeconfig !== undefined) {
    const file = resolve(s.kubeconfig);
    await writeWhole(file, renderKubeconfig(entry));
    return file;
  }
  const file = defaultKubeconfig(process.env, process.platform);
  await writeWhole(file, await mergeKubeconfig(await readIfThere(file), entry));
  return file;
}

/** How to say `kubectl` for this kubeconfig. */
function kubectlHint(s: UpSettings, file: string): string {
  return s.kubeconfig === undefined ? 'kubectl --context knarr get nodes' : `kubectl --kubeconfig ${file} get nodes`;
}

/** Soon enough for V8 to have dropped nothing, late enough to disturb nobody's first requests. */
const compileCacheAfterMs = 3000;

/** The real node that is asked for or can be had; else why not. */
async function realMachine(
  s: UpSettings,
  clock: Clock,
  logger: Logger,
): Promise<{ readonly machine?: Machine; readonly why?: string }> {
  const named = s.machine.endpoint !== undefined;
  const kubelet = !s.disable.includes('kubelet');
  // Without a kubelet of ours this machine is a node where its address or its runtime is named.
  const meant = kubelet || s.runtime === 'containerd' || s.machine.address !== undefined;
  if (s.runtime === 'simulated' || !meant) return {};
  // Several nodes on one machine are simulated ones; one that was not asked for stays as it was.
  if (
    kubelet &&
    s.runtime === 'auto' &&
    !named &&
    (s.nodes !== 1 || process.platform !== 'linux' || process.getuid?.() !== 0)
  )
    return {};
  if (kubelet && s.nodes !== 1)
    throw new UserError(
      `--nodes ${s.nodes} are simulated nodes: this machine is one real node, others come with "knarr join"`,
    );
  const { anyRuntime, NoRuntimeError } = await import('../cluster/real/runtime.ts');
  if (kubelet && s.runtime === 'auto' && !named && !(await anyRuntime()))
    return { why: 'no container runtime answers here' };
  const { openMachine } = await import('../cluster/real/machine.ts');
  try {
    return {
      machine: await openMachine(s.machine, {
        clock,
        logger,
        owner: s.dataDir,
        kubeProxy: !s.disable.includes('kube-proxy'),
        kubelet,
      }),
    };
  } catch (e) {
    if (!(e instanceof NoRuntimeError)) throw e;
    if (kubelet && s.runtime === 'auto' && !named) return { why: e.message };
    throw new UserError(e.message, { cause: e });
  }
}

async function serve(s: UpSettings, started: number): Promise<void> {
  const clock = new SystemClock();
  const logger = createLogger({
    level: s.logLevel,
    now: () => clock.now(),
    sink: (r) => void process.stderr.write(`${s.logFormat === 'json' ? formatJson(r) : formatText(r)}\n`),
  });
  const progress = createProgress(process.stdout, process.env, (fn) => {
    const t = clock.setTicker(80, fn);
    return () => t.cancel();
  });
  let stopping = false;
  const ending = new AbortController();
  const stopped = Promise.withResolvers<void>();
  const stop = (): void => {
    if (stopping) return;
    stopping = true;
    ending.abort(new Error('stopped by a signal'));
    stopped.resolve();
  };
  process.on('SIGINT', stop);
  process.on('SIGTERM', stop);

  const etcdTls = await readEtcdTls(s);
  const { readSecurity } = await import('../cluster/processes/security.ts');
  const { security, note: _note, ...identities } = await readSecurity(s.security, ['Node', 'RBAC'], { clock, logger });
  const { machine, why } = await realMachine(s, clock, logger);
  makeDataDir(s.dataDir);
  const { createCluster } = await import('../cluster/create-cluster.ts');
  const { apiServerExtras } = await import('../cluster/processes/api-server-extras.ts');
  const extras = await apiServerExtras(s, { clock, random: new SystemRandom(), logger, signal: ending.signal });
  let cluster: Awaited<ReturnType<typeof createCluster>>;
  try {
    cluster = await createCluster({
      dataDir: s.dataDir,
      https: { host: s.bindAddress, port: s.port },
      nodes: s.nodes,
      ...(machine === undefined ? {} : { machine }),
      nodeMonitorGracePeriodMs: s.nodeMonitorGracePeriodMs,
      ...s.ranges,
      disable: s.disable,
      ...s.apis,
      security: { ...security, ...identities, issuers: s.security.serviceAccountIssuer },
      apiServer: extras,
      etcdServers: s.etcdServers,
      ...(etcdTls === undefined ? {} : { etcdTls }),
      clock,
      random: new SystemRandom(),
      logger,
      onStep: (text) => progress.step(text),
    });
  } catch (e) {
    progress.fail();
    throw e;
  }
  try {
    const entry: KubeconfigEntry = { name: 'knarr', ...cluster.adminCredentials! };
    const layout = dataDirLayout(s.dataDir);
    if (machine !== undefined)
      await writeWhole(
        layout.node,
        `${JSON.stringify({ ...s.machine, endpoint: machine.runtime?.endpoint ?? '', rootDir: machine.rootDir, cniConfDir: machine.cniConfDir })}\n`,
      );
    await writeWhole(layout.adminConf, renderKubeconfig(entry));
    const kubeconfig = await writeKubeconfig(s, entry);
    const status = (): ServerStatus => ({
      pid: process.pid,
      version: gitVersion,
      url: cluster.url!,
      dataDir: s.dataDir,
      runtime: machine === undefined ? 'simulated' : (machine.runtime?.endpoint ?? 'of another kubelet'),
      startedAt: new Date(started).toISOString(),
      ready: true,
      kubeconfig,
      components: cluster.components,
      nodes: s.nodes,
    });
    const control = await serveControl(s.dataDir, { status, stop });
    progress.done();
    progress.line(`ready in ${((clock.now() - started) / 1000).toFixed(1)} s: ${cluster.url}`);
    if (machine === undefined && s.nodes > 0 && !s.disable.includes('kubelet'))
      progress.line(
        `nodes are simulated: pods start, log and answer, but no container runs${why === undefined ? '' : ` (${why})`}`,
      );
    if (machine !== undefined)
      progress.line(
        machine.runtime === undefined
          ? `node ${machine.nodeName} is another kubelet's: docs/real-nodes.md tells how to start it`
          : `node ${machine.nodeName} runs real containers by ${machine.runtime.endpoint}`,
      );
    progress.line(`try: ${kubectlHint(s, kubeconfig)}`);
    if (process.send !== undefined) process.send({ ready: status() });
    // What the start has compiled is kept for the next one. Node would write it at the end of the process, which may come by a
    // kill, and from which V8 has dropped by then what only the start needed.
    const cancel = ioTimer(compileCacheAfterMs, flushCompileCache);
    const leaveMemory = giveBackMemoryWhenIdle();
    await stopped.promise;
    cancel();
    leaveMemory();
    progress.step('stopping');
    await control.close();
  } finally {
    await cluster.close();
  }
  progress.done();
  process.off('SIGINT', stop);
  process.off('SIGTERM', stop);
}

async function detach(s: UpSettings): Promise<void> {
  makeDataDir(s.dataDir);
  const layout = dataDirLayout(s.dataDir);
  const log = openSync(layout.log, 'a', 0o600);
  const args = process.argv.slice(2).filter((a) => !/^--detach(=|$)/.test(a));
  const child = spawn(process.execPath, [...process.execArgv, process.argv[1]!, ...args], {
    detached: true,
    stdio: ['ignore', log, log, 'ipc'],
    cwd: process.cwd(),
  });
  const status = await new Promise<ServerStatus>((done, fail) => {
    child.once('message', (m) => done((m as { ready: ServerStatus }).ready));
    child.once('error', fail);
    child.once('exit', (code) => {
      void readIfThere(layout.log).then((text) => {
        const last = text?.trimEnd().split('\n').at(-1);
        fail(
          new UserError(
            last === undefined || last === '' ? `the cluster ended with ${code}` : last.replace(/^knarr: /, ''),
          ),
        );
      }, fail);
    });
  });
  child.disconnect();
  child.unref();
  process.stdout.write(
    `ready: ${status.url} (process ${status.pid}, log ${layout.log})\ntry: ${kubectlHint(s, status.kubeconfig)}\nstop: knarr down${s.dataDir === defaultDataDir(process.env, process.platform) ? '' : ` --data-dir ${join(s.dataDir)}`}\n`,
  );
}

export const upCommand: CommandSpec = {
  name: 'up',
  summary: 'start a cluster',
  description:
    'Starts a whole Kubernetes cluster: store, API server, scheduler, controllers and nodes, in this one process. Ctrl-C stops it; starting again on the same data directory brings the same cluster back.',
  flags,
  examples: [
    ['knarr up', 'a cluster on port 6443, context "knarr" in your kubeconfig'],
    ['knarr up --nodes 3 --detach', 'three nodes, left running in the background'],
    ['knarr up --port 0 --kubeconfig ./k --data-dir ./d', 'a throw-away cluster that touches nothing else'],
    ['knarr up --disable kube-scheduler', 'bring your own scheduler'],
  ],
  async run(values) {
    const started = new SystemClock().now() - process.uptime() * 1000;
    const settings = settingsOf(values);
    await checkGround(settings);
    if (settings.detach) await detach(settings);
    else await serve(settings, started);
  },
};
