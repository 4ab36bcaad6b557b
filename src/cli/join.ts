/** `knarr join` and `knarr leave`: this machine as a further node of a cluster that runs elsewhere. */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { logFlags, runWithSignals, valuesOf } from './components/component.ts';
import { dataDirLayout } from '../cluster/paths.ts';
import { UserError } from './errors.ts';
import type { CommandSpec, Flag } from './flags.ts';
import { stopServer } from './stop-server.ts';

const dataDirFlag: Flag = {
  name: 'data-dir',
  kind: 'string',
  value: 'DIR',
  default: '/var/lib/knarr',
  help: 'where certificate and addresses are kept',
};
const nodeNameFlag: Flag = {
  name: 'node-name',
  kind: 'string',
  value: 'NAME',
  help: "the node's name (default: the host name)",
};
const rootDirFlag: Flag = {
  name: 'root-dir',
  kind: 'string',
  value: 'DIR',
  default: '/var/lib/kubelet',
  help: 'pods and volumes',
};
const cniFlag: Flag = {
  name: 'cni-conf-dir',
  kind: 'string',
  value: 'DIR',
  default: '/etc/cni/net.d',
  help: 'where the runtime reads its network configuration; ours is written there when none stands',
};

export const joinCommand: CommandSpec = {
  name: 'join',
  summary: 'add this machine as a node of a cluster',
  description:
    'Runs kubelet, proxy and routes of this machine for a cluster that runs elsewhere, until it is stopped. The first time it needs what "knarr token create" prints there; after that it knows its cluster, and starts without.',
  flags: [
    { name: 'server', kind: 'string', value: 'URL', help: "the cluster's API server" },
    { name: 'token', kind: 'string', value: 'ID.SECRET', help: 'a bootstrap token' },
    {
      name: 'ca-cert-hash',
      kind: 'list',
      value: 'sha256:…',
      help: "the hash of its authority's key; without it whoever knows the token is trusted",
    },
    dataDirFlag,
    nodeNameFlag,
    { name: 'node-ip', kind: 'list', value: 'ADDRESS', help: "this machine's address, one a family" },
    {
      name: 'container-runtime-endpoint',
      kind: 'string',
      value: 'SOCKET',
      help: "the container runtime's socket (default: containerd's or CRI-O's); simulated:// runs none",
    },
    rootDirFlag,
    cniFlag,
    { name: 'cgroup-root', kind: 'string', value: 'PATH', default: '/', help: 'the cgroup below which pods run' },
    { name: 'kubelet-port', kind: 'int', default: 10250, help: "the kubelet's port" },
    {
      name: 'kube-proxy',
      kind: 'bool',
      default: true,
      help: 'Services, policies and routes; false where another implementation brings them',
    },
    ...logFlags,
  ],
  examples: [
    [
      'knarr join --server https://10.0.0.1:6443 --token abcdef.0123456789abcdef --ca-cert-hash sha256:…',
      'as "knarr token create" prints it',
    ],
    ['knarr join', 'again, after a restart of the machine'],
  ],
  run: (values) =>
    runWithSignals(values, async (env) => {
      const v = valuesOf(values);
      const { runJoin } = await import('../cluster/joining/join.ts');
      await runJoin(
        {
          server: v.string('server'),
          token: v.string('token'),
          caCertHashes: v.list('ca-cert-hash'),
          dataDir: v.text('data-dir'),
          nodeName: v.string('node-name'),
          nodeIp: v.list('node-ip'),
          containerRuntimeEndpoint: v.string('container-runtime-endpoint'),
          rootDir: v.text('root-dir'),
          cniConfDir: v.text('cni-conf-dir'),
          cgroupRoot: v.text('cgroup-root'),
          kubeletPort: v.port('kubelet-port'),
          kubeProxy: v.bool('kube-proxy'),
        },
        env,
      );
    }),
};

export const leaveCommand: CommandSpec = {
  name: 'leave',
  summary: 'drain this machine and take it out of its cluster',
  description:
    'Moves the pods of this node elsewhere, stops "knarr join", deletes the Node, takes what it made off this machine, and forgets the cluster. It needs the rights to do so: an administrator’s kubeconfig.',
  flags: [
    dataDirFlag,
    nodeNameFlag,
    { name: 'kubeconfig', kind: 'string', value: 'FILE', help: "an administrator's kubeconfig" },
    { name: 'timeout', kind: 'duration', default: 300_000, help: 'how long pods may take to go' },
    ...logFlags,
  ],
  examples: [['knarr leave --kubeconfig admin.conf', 'on the machine that goes']],
  run: (values) =>
    runWithSignals(values, async (env) => {
      const v = valuesOf(values);
      const { connect, connectionOf, userAgent } = await import('../cluster/processes/api-connection.ts');
      const { drainAndDelete } = await import('../cluster/joining/leave.ts');
      const { hostname } = await import('node:os');
      const client = connect(await connectionOf({ kubeconfig: v.string('kubeconfig') }, env), env, userAgent('knarr'));
      const nodeName = (v.string('node-name') ?? hostname()).trim().toLowerCase();
      const dir = v.text('data-dir');
      try {
        const left = await drainAndDelete(client, nodeName, {
          ...env,
          timeoutMs: v.ms('timeout'),
          stopNode: async () => void (await stopServer(dir)),
        });
        if (left.length > 0)
          throw new UserError(`these pods have not gone: ${left.join(', ')}; the node stays, and takes no new ones`);
      } finally {
        await client.transport.close();
      }
      const { readRecord, removeRealNode } = await import('../cluster/real/remove.ts');
      const record = await readRecord(dataDirLayout(dir).node);
      const left =
        record === undefined ? [] : await removeRealNode({ ...record, clock: env.clock, logger: env.logger });
      for (const what of left) env.say(`not removed: ${what}`);
      for (const file of ['bootstrap-kubelet.conf', 'kubelet.conf', 'cluster.json', 'ca.crt', 'pki', 'node.json'])
        await rm(join(dir, file), { recursive: true, force: true });
      env.say(`node ${nodeName} has left`);
    }),
};
