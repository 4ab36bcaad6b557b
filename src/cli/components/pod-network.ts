/** `knarr pod-network` */
import { componentCommand } from './component.ts';

export const podNetworkCommand = componentCommand({
  name: 'pod-network',
  summary: "a machine's part in the pod network, beside a kubelet of somebody else's",
  description:
    'Writes the runtime\'s CNI configuration where none stands, and keeps routes (VXLAN to nodes that are on no network of this machine), masquerading and the addresses of load balancers. Nodes of "knarr up", "knarr join" and "knarr kubelet" have this in them; it is for upstream\'s kubelet. What it has made stays when it stops; --cleanup removes it.',
  flags: [
    {
      name: 'kubeconfig',
      kind: 'string',
      value: 'FILE',
      help: "how to reach the API server: the kubelet's own will do",
    },
    { name: 'master', kind: 'string', value: 'URL', help: "the API server's address, instead of the kubeconfig's" },
    { name: 'hostname-override', kind: 'string', value: 'NAME', help: 'name of the node (default: the host name)' },
    { name: 'cluster-cidr', kind: 'list', value: 'CIDR,…', help: 'ranges of all pods (default: as the cluster says)' },
    {
      name: 'overlay',
      kind: 'string',
      choices: ['auto', 'always', 'never'],
      help: 'VXLAN to other nodes (default: as the cluster says)',
    },
    {
      name: 'load-balancer-pool',
      kind: 'list',
      value: 'CIDR,…',
      help: 'addresses of load balancers to make known on the network (default: as the cluster says)',
    },
    {
      name: 'cni-conf-dir',
      kind: 'string',
      value: 'DIR',
      default: '/etc/cni/net.d',
      help: 'where the runtime reads its network configuration',
    },
    {
      name: 'cni-data-dir',
      kind: 'string',
      value: 'DIR',
      default: '/var/lib/cni/networks',
      help: 'where the addresses are kept that pods have',
    },
    { name: 'cleanup', kind: 'bool', default: false, help: 'remove all of it, and end' },
  ],
  examples: [
    [
      'knarr pod-network --kubeconfig /var/lib/kubelet/kubelet.conf --hostname-override node-2',
      "as root, beside upstream's kubelet",
    ],
    ['knarr pod-network --cleanup', 'takes it away again'],
  ],
  async run(v, env) {
    const { runPodNetwork } = await import('../../cluster/processes/pod-network.ts');
    await runPodNetwork(
      {
        kubeconfig: v.string('kubeconfig'),
        master: v.string('master'),
        hostnameOverride: v.string('hostname-override'),
        clusterCidrs: v.list('cluster-cidr'),
        overlay: v.string('overlay') as 'auto' | 'always' | 'never' | undefined,
        loadBalancerPool: v.list('load-balancer-pool'),
        cniConfDir: v.text('cni-conf-dir'),
        cniDataDir: v.text('cni-data-dir'),
        cleanup: v.bool('cleanup'),
      },
      env,
    );
  },
});
