/** `knarr kube-proxy` */
import { componentCommand } from './component.ts';
import { idleFlagLines, idleFlags } from './idle-flags.ts';
import { idleProxyFlags } from './kube-proxy-idle-flags.ts';

/** An address with another port; as it is where none is given. */
function withPort(address: string, port: number | undefined): string {
  return port === undefined ? address : `${address.replace(/:\d+$/, '')}:${port}`;
}

export const proxyCommand = componentCommand({
  name: 'kube-proxy',
  summary: 'makes Services and network policies real on a node',
  description:
    'Follows Services, their endpoints and network policies, and keeps the rules of nftables that make them real on this machine. Rules stay when it stops, so that traffic goes on; --cleanup removes them. With --proxy-mode simulated it only keeps the map of what each address leads to.',
  flags: [
    {
      name: 'config',
      kind: 'string',
      value: 'FILE',
      help: 'a KubeProxyConfiguration, in the place of the flags (not of --hostname-override and --master); a field that is none is refused',
    },
    {
      name: 'write-config-to',
      kind: 'string',
      value: 'FILE',
      help: 'write a configuration of defaults there, and end',
    },
    { name: 'kubeconfig', kind: 'string', value: 'FILE', help: 'how to reach the API server, and as whom' },
    { name: 'master', kind: 'string', value: 'URL', help: "the API server's address, instead of the kubeconfig's" },
    { name: 'hostname-override', kind: 'string', value: 'NAME', help: 'name of the node (default: the host name)' },
    {
      name: 'bind-address',
      kind: 'string',
      value: 'ADDRESS',
      help: "what is taken for the node's own address (default: what its Node says); nothing listens there",
    },
    {
      name: 'bind-address-hard-fail',
      kind: 'bool',
      default: false,
      help: 'end when the port of health or metrics cannot be had, instead of trying again',
    },
    { name: 'feature-gates', kind: 'map', help: "upstream's gates" },
    {
      name: 'oom-score-adj',
      kind: 'int',
      help: 'how likely the kernel kills this process when memory is short (default: as it is; upstream -999)',
    },
    {
      name: 'proxy-mode',
      kind: 'string',
      value: 'MODE',
      help: 'nftables (default), or simulated, which changes nothing on this machine',
    },
    {
      name: 'cluster-cidr',
      kind: 'string',
      value: 'RANGES',
      default: '',
      help: 'ranges of the pods, one an address family: what comes from elsewhere to a cluster IP is masqueraded',
    },
    {
      name: 'detect-local-mode',
      kind: 'string',
      choices: ['ClusterCIDR', 'NodeCIDR', 'BridgeInterface', 'InterfaceNamePrefix'],
      default: 'ClusterCIDR',
      help: 'how traffic of pods is told from other traffic',
    },
    {
      name: 'pod-bridge-interface',
      kind: 'string',
      value: 'NAME',
      default: '',
      help: 'for BridgeInterface: the bridge that pods are on',
    },
    {
      name: 'pod-interface-name-prefix',
      kind: 'string',
      value: 'PREFIX',
      default: '',
      help: "for InterfaceNamePrefix: what names of pods' interfaces begin with",
    },
    { name: 'masquerade-all', kind: 'bool', default: false, help: 'masquerade everything that goes to a cluster IP' },
    {
      name: 'nodeport-addresses',
      kind: 'list',
      value: 'RANGES',
      help: "the node's addresses at which node ports answer (default primary: those of the Node object)",
    },
    {
      name: 'localhost-nodeports',
      kind: 'bool',
      default: false,
      help: 'node ports answer at 127.0.0.1, too (knarr alone)',
    },
    {
      name: 'iptables-masquerade-bit',
      kind: 'int',
      default: 14,
      help: 'the bit of the packet mark that stands for masquerading, in any mode',
    },
    {
      name: 'iptables-min-sync-period',
      kind: 'duration',
      default: 0,
      value: 'TIME',
      help: 'at least so long between two changes of the rules, in any mode',
    },
    {
      name: 'iptables-sync-period',
      kind: 'duration',
      default: 30_000,
      value: 'TIME',
      help: 'rules that could not be written are tried again after so long at most, in any mode',
    },
    {
      name: 'network-policy',
      kind: 'bool',
      default: true,
      help: 'enforce network policies for the pods of this node (knarr alone)',
    },
    {
      name: 'conntrack-max-per-core',
      kind: 'int',
      default: 32_768,
      help: 'connections that are tracked, a processor; 0 leaves the limit as it is',
    },
    { name: 'conntrack-min', kind: 'int', default: 131_072, help: 'connections that are tracked at least' },
    {
      name: 'conntrack-tcp-timeout-established',
      kind: 'duration',
      default: 86_400_000,
      value: 'TIME',
      help: 'how long an idle TCP connection is remembered; 0 leaves it as it is',
    },
    {
      name: 'conntrack-tcp-timeout-close-wait',
      kind: 'duration',
      default: 3_600_000,
      value: 'TIME',
      help: 'the same in CLOSE_WAIT',
    },
    {
      name: 'conntrack-tcp-be-liberal',
      kind: 'bool',
      default: false,
      help: 'packets out of the window do not end the tracking of a TCP connection',
    },
    {
      name: 'conntrack-udp-timeout',
      kind: 'duration',
      default: 0,
      value: 'TIME',
      help: 'how long a UDP packet without an answer is remembered; 0 leaves it as it is',
    },
    {
      name: 'conntrack-udp-timeout-stream',
      kind: 'duration',
      default: 0,
      value: 'TIME',
      help: 'the same for UDP with answers',
    },
    {
      name: 'healthz-bind-address',
      kind: 'string',
      value: 'ADDRESS:PORT',
      default: '0.0.0.0:10256',
      help: 'where /healthz is; port 0 serves none',
    },
    { name: 'healthz-port', kind: 'int', help: 'its port alone; --healthz-bind-address says more' },
    {
      name: 'metrics-bind-address',
      kind: 'string',
      value: 'ADDRESS:PORT',
      default: '127.0.0.1:10249',
      help: 'where /metrics and /proxyMode are; port 0 serves none',
    },
    { name: 'metrics-port', kind: 'int', help: 'its port alone; --metrics-bind-address says more' },
    {
      name: 'cleanup',
      kind: 'bool',
      default: false,
      help: 'remove all rules of Services and network policies, and end',
    },
    {
      name: 'init-only',
      kind: 'bool',
      default: false,
      help: 'set what needs all of root’s rights (limits of connection tracking), and end; CAP_NET_ADMIN is enough afterwards',
    },
    ...idleFlags(idleProxyFlags),
  ],
  examples: [
    [
      'knarr kube-proxy --kubeconfig kube-proxy.conf --hostname-override node-1 --cluster-cidr 10.244.0.0/16',
      'as root, with a kubeconfig of "knarr certificates"',
    ],
    ['knarr kube-proxy --cleanup', 'takes its rules away again'],
  ],
  async run(v, env) {
    const { runProxy } = await import('../../cluster/processes/kube-proxy.ts');
    await runProxy(
      {
        config: v.string('config'),
        writeConfigTo: v.string('write-config-to'),
        bindAddress: v.string('bind-address'),
        bindAddressHardFail: v.bool('bind-address-hard-fail'),
        featureGates: v.map('feature-gates'),
        oomScoreAdj: v.maybe<number>('oom-score-adj'),
        masqueradeBit: v.int('iptables-masquerade-bit'),
        kubeconfig: v.string('kubeconfig'),
        master: v.string('master'),
        hostnameOverride: v.string('hostname-override'),
        proxyMode: v.string('proxy-mode'),
        healthzBindAddress: withPort(v.text('healthz-bind-address'), v.maybe('healthz-port')),
        metricsBindAddress: withPort(v.text('metrics-bind-address'), v.maybe('metrics-port')),
        clusterCidr: v.text('cluster-cidr'),
        detectLocalMode: v.text('detect-local-mode'),
        podBridgeInterface: v.text('pod-bridge-interface'),
        podInterfaceNamePrefix: v.text('pod-interface-name-prefix'),
        masqueradeAll: v.bool('masquerade-all'),
        nodePortAddresses: v.list('nodeport-addresses'),
        localhostNodePorts: v.bool('localhost-nodeports'),
        minSyncPeriodMs: v.ms('iptables-min-sync-period'),
        networkPolicy: v.bool('network-policy'),
        conntrack: {
          maxPerCore: v.int('conntrack-max-per-core'),
          min: v.int('conntrack-min'),
          tcpEstablishedTimeout: v.ms('conntrack-tcp-timeout-established'),
          tcpCloseWaitTimeout: v.ms('conntrack-tcp-timeout-close-wait'),
          tcpBeLiberal: v.bool('conntrack-tcp-be-liberal'),
          udpTimeout: v.ms('conntrack-udp-timeout'),
          udpStreamTimeout: v.ms('conntrack-udp-timeout-stream'),
        },
        cleanup: v.bool('cleanup'),
        initOnly: v.bool('init-only'),
        syncPeriodMs: v.ms('iptables-sync-period'),
        idle: idleFlagLines(idleProxyFlags, (name) => v.maybe(name) !== undefined),
      },
      env,
    );
  },
});
