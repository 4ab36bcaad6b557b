/** `knarr dns` */
import { componentCommand } from './component.ts';

const at = (what: string, port: number) =>
  ({
    kind: 'string',
    value: 'ADDRESS:PORT',
    help: `where ${what} (default: where the Corefile says, port ${port} of --bind-address); port 0 serves none`,
  }) as const;

export const dnsCommand = componentCommand({
  name: 'dns',
  summary: "the cluster's name server",
  description:
    'Answers the names of Services and pods over UDP and TCP as CoreDNS does, by the Corefile of the ConfigMap kube-system/coredns, and passes other names on. It needs no rights on this machine: its port is an unprivileged one, and an EndpointSlice of its own leads the kube-dns Service to it.',
  flags: [
    { name: 'kubeconfig', kind: 'string', value: 'FILE', help: 'how to reach the API server, and as whom' },
    { name: 'master', kind: 'string', value: 'URL', help: "the API server's address, instead of the kubeconfig's" },
    {
      name: 'conf',
      kind: 'string',
      value: 'FILE',
      help: 'a Corefile (default: the one in ConfigMap kube-system/coredns, else one made of the flags below)',
    },
    { name: 'cluster-domain', kind: 'string', value: 'DOMAIN', default: 'cluster.local', help: "the cluster's domain" },
    {
      name: 'upstreams',
      kind: 'list',
      value: 'ADDRESS[:PORT],…',
      help: "name servers for other names (default: the machine's)",
    },
    {
      name: 'pods',
      kind: 'string',
      choices: ['insecure', 'verified', 'disabled'],
      default: 'insecure',
      help: 'names such as 10-1-2-3.namespace.pod: all, those of pods that there are, or none',
    },
    {
      name: 'bind-address',
      kind: 'string',
      value: 'ADDRESS',
      help: "where to answer (default: the machine's address)",
    },
    {
      name: 'port',
      kind: 'int',
      default: 10_053,
      help: "port for the Corefile's port 53, UDP and TCP; 0 picks a free one",
    },
    { name: 'announce', kind: 'bool', default: true, help: 'keep an EndpointSlice that leads kube-dns here' },
    {
      name: 'advertise-address',
      kind: 'string',
      value: 'ADDRESS',
      help: 'what kube-dns leads to (default: --bind-address)',
    },
    { name: 'health-bind-address', ...at('/health is', 8080) },
    { name: 'ready-bind-address', ...at('/ready is', 8181) },
    { name: 'metrics-bind-address', ...at('/metrics is', 9153) },
  ],
  examples: [
    ['knarr dns --kubeconfig dns.conf', 'with a kubeconfig of "knarr certificates"'],
    ['knarr dns --kubeconfig dns.conf --conf Corefile --bind-address 127.0.0.1', 'with a Corefile of your own'],
    ['dig -p 10053 @127.0.0.1 kubernetes.default.svc.cluster.local', 'asks it'],
  ],
  async run(v, env) {
    const { runDns } = await import('../../cluster/processes/dns.ts');
    await runDns(
      {
        kubeconfig: v.string('kubeconfig'),
        master: v.string('master'),
        conf: v.string('conf'),
        clusterDomain: v.text('cluster-domain'),
        bindAddress: v.string('bind-address'),
        port: v.port('port'),
        upstreams: v.list('upstreams'),
        pods: v.text('pods') as 'insecure' | 'verified' | 'disabled',
        healthBindAddress: v.string('health-bind-address'),
        readyBindAddress: v.string('ready-bind-address'),
        metricsBindAddress: v.string('metrics-bind-address'),
        announce: v.bool('announce'),
        advertiseAddress: v.string('advertise-address'),
      },
      env,
    );
  },
});
