/** `knarr etcd` */
import { componentCommand } from './component.ts';
import { idleEtcdFlags } from './etcd-idle-flags.ts';
import { idleFlagLines, idleFlags } from './idle-flags.ts';

export const etcdCommand = componentCommand({
  name: 'etcd',
  summary: 'the key-value store, speaking etcd v3',
  description:
    "Serves the built-in store over etcd's v3 gRPC API: etcdctl, backup tools and any kube-apiserver can use it. It is a cluster of one member; for high availability point kube-apiserver at a real etcd cluster.",
  flags: [
    { name: 'name', kind: 'string', default: 'default', help: 'name of the member' },
    { name: 'data-dir', kind: 'string', value: 'DIR', help: 'where the data lives (default: NAME.etcd)' },
    {
      name: 'listen-client-urls',
      kind: 'list',
      value: 'URL,…',
      default: ['http://localhost:2379'],
      help: 'where to serve; port 0 picks a free one',
    },
    { name: 'advertise-client-urls', kind: 'list', value: 'URL,…', help: 'what clients are told to use' },
    { name: 'listen-metrics-urls', kind: 'list', value: 'URL,…', help: 'where /health and /metrics are served' },
    { name: 'cert-file', kind: 'string', value: 'FILE', help: 'serving certificate, for https URLs' },
    { name: 'key-file', kind: 'string', value: 'FILE', help: 'its key' },
    { name: 'client-cert-auth', kind: 'bool', default: false, help: 'clients must show a certificate' },
    { name: 'trusted-ca-file', kind: 'string', value: 'FILE', help: "authorities of the clients' certificates" },
    { name: 'auto-compaction-mode', kind: 'string', choices: ['periodic'], default: 'periodic', help: 'by age' },
    {
      name: 'auto-compaction-retention',
      kind: 'string',
      default: '0',
      value: 'AGE',
      help: 'how long history is kept, hours or a duration such as 30m; 0: as long as there is room (kube-apiserver compacts)',
    },
    ...idleFlags(idleEtcdFlags),
  ],
  examples: [
    ['knarr etcd --data-dir ./store', 'on http://localhost:2379'],
    [
      'knarr etcd --listen-client-urls https://127.0.0.1:2379 --cert-file pki/etcd/server.crt --key-file pki/etcd/server.key --client-cert-auth --trusted-ca-file pki/etcd/ca.crt',
      'over TLS, with the files of "knarr certificates"',
    ],
  ],
  async run(v, env) {
    const { goDuration } = await import('../flags.ts');
    const { UsageError } = await import('../errors.ts');
    const { runEtcd } = await import('../../cluster/processes/etcd.ts');
    const text = v.text('auto-compaction-retention');
    const retention = /^\d+$/.test(text) ? Number(text) * 3_600_000 : goDuration(text);
    if (retention === undefined)
      throw new UsageError(
        `invalid argument ${JSON.stringify(text)} for "--auto-compaction-retention": it is hours, or a duration such as 30m`,
      );
    await runEtcd(
      {
        name: v.text('name'),
        dataDir: v.string('data-dir'),
        listenClientUrls: v.list('listen-client-urls'),
        advertiseClientUrls: v.list('advertise-client-urls').length === 0 ? undefined : v.list('advertise-client-urls'),
        listenMetricsUrls: v.list('listen-metrics-urls'),
        certFile: v.string('cert-file'),
        keyFile: v.string('key-file'),
        trustedCaFile: v.string('trusted-ca-file'),
        clientCertAuth: v.bool('client-cert-auth'),
        autoCompactionRetentionMs: retention,
        idle: idleFlagLines(idleEtcdFlags, (name) => v.maybe(name) !== undefined),
      },
      env,
    );
  },
});
