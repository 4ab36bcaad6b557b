/** `knarr dns` */
import { componentCommand } from './component.ts';

export const dnsCommand = componentCommand({
  name: 'dns',
  summary: "the cluster's name server",
  description:
    'Answers the names of Services and pods over UDP and TCP, as the Kubernetes DNS specification has them, and passes other names on where it is told to. It needs no rights on this machine: its port is an unprivileged one.',
  flags: [
    { name: 'kubeconfig', kind: 'string', value: 'FILE', help: 'how to reach the API server, and as whom' },
    { name: 'master', kind: 'string', value: 'URL', help: "the API server's address, instead of the kubeconfig's" },
    { name: 'cluster-domain', kind: 'string', value: 'DOMAIN', default: 'cluster.local', help: "the cluster's domain" },
    { name: 'bind-address', kind: 'string', value: 'ADDRESS', default: '127.0.0.1', help: 'where to answer' },
    { name: 'port', kind: 'int', default: 10_053, help: 'port, for UDP and TCP; 0 picks a free one' },
    {
      name: 'upstreams',
      kind: 'list',
      value: 'ADDRESS[:PORT],…',
      help: 'name servers for other names; without them such names are refused',
    },
    {
      name: 'pods',
      kind: 'string',
      choices: ['insecure', 'verified', 'disabled'],
      default: 'insecure',
      help: 'names such as 10-1-2-3.namespace.pod: all, those of pods that there are, or none',
    },
    {
      name: 'metrics-bind-address',
      kind: 'string',
      value: 'ADDRESS:PORT',
      default: '127.0.0.1:9153',
      help: 'where /healthz, /readyz and /metrics are; port 0 serves none',
    },
  ],
  examples: [
    ['knarr dns --kubeconfig dns.conf', 'with a kubeconfig of "knarr certificates"'],
    ['dig -p 10053 @127.0.0.1 kubernetes.default.svc.cluster.local', 'asks it'],
  ],
  async run(v, env) {
    const { runDns } = await import('../../cluster/processes/dns.ts');
    await runDns(
      {
        kubeconfig: v.string('kubeconfig'),
        master: v.string('master'),
        clusterDomain: v.text('cluster-domain'),
        bindAddress: v.text('bind-address'),
        port: v.port('port'),
        upstreams: v.list('upstreams'),
        pods: v.text('pods') as 'insecure' | 'verified' | 'disabled',
        metricsBindAddress: v.text('metrics-bind-address'),
      },
      env,
    );
  },
});
