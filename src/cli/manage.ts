/** `knarr down | status | kubeconfig | reset | version`: what is said to, or about, a running cluster. */
import { readFile, rm, stat, writeFile } from 'node:fs/promises';
import { SystemClock } from '../base/clock.ts';
import { silentLogger } from '../base/logger.ts';
import { SystemRandom } from '../base/random.ts';
import type { BroughtComponent } from '../cluster/components.ts';
import { broughtComponents } from '../cluster/components.ts';
import { askServer } from '../cluster/control.ts';
import { BrokenKubeconfigError, removeFromKubeconfig } from '../cluster/kubeconfig.ts';
import { dataDirLayout, defaultKubeconfig } from '../cluster/paths.ts';
import { gitVersion, knarrVersion, kubernetesVersion } from '../cluster/version.ts';
import { UsageError, UserError } from './errors.ts';
import type { CommandSpec, Flag } from './flags.ts';
import { stopServer } from './stop-server.ts';
import { dataDirFlag, dataDirOf } from './up.ts';

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

const outputFlag: Flag = {
  name: 'output',
  short: 'o',
  kind: 'string',
  choices: ['text', 'json'],
  default: 'text',
  help: 'form of the answer',
};

export const downCommand: CommandSpec = {
  name: 'down',
  summary: 'stop a running cluster; its data stays',
  flags: [dataDirFlag],
  async run(values) {
    const dataDir = dataDirOf(values);
    say((await stopServer(dataDir)) ? 'stopped' : `no cluster is running on ${dataDir}`);
  },
};

export const statusCommand: CommandSpec = {
  name: 'status',
  summary: 'tell whether a cluster is running, and where',
  flags: [dataDirFlag, outputFlag],
  async run(values) {
    const dataDir = dataDirOf(values);
    const status = await askServer(dataDir, 'status');
    if (values['output'] === 'json') say(JSON.stringify(status ?? { running: false, dataDir }));
    else if (status === undefined) say(`not running (${dataDir})`);
    else
      say(
        [
          `running    process ${status.pid}, since ${status.startedAt}`,
          `version    ${status.version}`,
          `server     ${status.url}`,
          `nodes      ${status.nodes} (${status.runtime})`,
          `components ${status.components.join(', ')}`,
          `data       ${status.dataDir}`,
          `kubeconfig ${status.kubeconfig}`,
        ].join('\n'),
      );
    if (status === undefined) process.exitCode = 1;
  },
};

export const kubeconfigCommand: CommandSpec = {
  name: 'kubeconfig',
  summary: "print the administrator's kubeconfig, or a component's",
  flags: [
    dataDirFlag,
    {
      name: 'component',
      kind: 'string',
      choices: broughtComponents,
      help: 'of a component that you bring in place of ours, with its own identity',
    },
    {
      name: 'server',
      kind: 'string',
      value: 'URL',
      help: "another address of the API server than the administrator's",
    },
  ],
  examples: [
    ['knarr kubeconfig > k; kubectl --kubeconfig k get nodes', 'use it from elsewhere'],
    [
      'knarr kubeconfig --component kube-proxy > kube-proxy.conf',
      'for upstream\'s, after "knarr up --disable kube-proxy"',
    ],
  ],
  async run(values) {
    const dataDir = dataDirOf(values);
    const file = dataDirLayout(dataDir).adminConf;
    const component = values['component'] as BroughtComponent | undefined;
    const server = values['server'] as string | undefined;
    if (component === undefined && server !== undefined) throw new UsageError('--server needs --component');
    const { componentKubeconfig } = await import('../cluster/component-kubeconfig.ts');
    try {
      process.stdout.write(
        component === undefined
          ? await readFile(file, 'utf8')
          : await componentKubeconfig({
              ...{ dataDir, component, clock: new SystemClock(), random: new SystemRandom() },
              ...(server === undefined ? {} : { server }),
            }),
      );
    } catch (e) {
      if ((e as NodeJS.ErrnoException).code !== 'ENOENT') throw e;
      throw new UserError(`no cluster has been started on ${dataDir}: start one with "knarr up"`, { cause: e });
    }
  },
};

/** Takes the real node that `knarr up` has made of this machine away again. */
async function removeNode(record: string): Promise<void> {
  const { readRecord, removeRealNode } = await import('../cluster/real/remove.ts');
  const node = await readRecord(record);
  if (node === undefined) return;
  const left = await removeRealNode({ ...node, clock: new SystemClock(), logger: silentLogger });
  for (const what of left) process.stderr.write(`knarr: not removed: ${what}\n`);
}

export const resetCommand: CommandSpec = {
  name: 'reset',
  summary: 'stop the cluster and delete all of its data',
  flags: [dataDirFlag],
  async run(values) {
    const dataDir = dataDirOf(values);
    const layout = dataDirLayout(dataDir);
    await stopServer(dataDir);
    const there = await stat(dataDir).catch((e: NodeJS.ErrnoException) => {
      if (e.code === 'ENOENT') return undefined;
      throw e;
    });
    if (there !== undefined) {
      const ours = await stat(layout.pki).catch((e: NodeJS.ErrnoException) => {
        if (e.code === 'ENOENT' || e.code === 'ENOTDIR') return undefined;
        throw e;
      });
      if (ours === undefined)
        throw new UserError(`${dataDir} does not look like a data directory of knarr; nothing was deleted`);
      await removeNode(layout.node);
      for (const path of [layout.store, layout.pki, layout.adminConf, layout.state, layout.log, layout.node])
        await rm(path, { recursive: true, force: true });
      await rm(dataDir, { recursive: true, force: true });
    }
    const file = defaultKubeconfig(process.env, process.platform);
    try {
      const text = await readFile(file, 'utf8');
      const without = await removeFromKubeconfig(text, 'knarr');
      if (without !== undefined) await writeFile(file, without, { mode: 0o600 });
    } catch (e) {
      if (e instanceof BrokenKubeconfigError)
        throw new UserError(`${file} is no kubeconfig (${e.message}): the context "knarr" was left in it`, {
          cause: e,
        });
      if ((e as NodeJS.ErrnoException).code !== 'ENOENT') throw e;
    }
    say(there === undefined ? `nothing to delete at ${dataDir}` : `deleted ${dataDir}`);
  },
};

export const versionCommand: CommandSpec = {
  name: 'version',
  summary: 'print the version',
  flags: [outputFlag],
  async run(values) {
    if (values['output'] === 'json')
      say(JSON.stringify({ knarr: knarrVersion, kubernetes: kubernetesVersion, gitVersion, node: process.version }));
    else say(`knarr ${knarrVersion} (Kubernetes ${kubernetesVersion}, Node ${process.version})`);
  },
};
