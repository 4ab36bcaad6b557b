/** `knarr kubelet` */
import type { Flag } from '../flags.ts';
import { componentCommand } from './component.ts';

const file = (name: string, help: string): Flag => ({ name, kind: 'string', value: 'FILE', help });

export const kubeletCommand = componentCommand({
  name: 'kubelet',
  summary: "a node's agent",
  description:
    'Registers this node and runs the pods that are bound to it, by a container runtime; with --container-runtime-endpoint simulated:// containers start, log, answer and end, but nothing runs. Defaults are those of KubeletConfiguration; a flag goes before --config.',
  flags: [
    file('kubeconfig', 'how to reach the API server, as system:node:NAME'),
    file('bootstrap-kubeconfig', 'with a bootstrap token, for getting a certificate; --kubeconfig is then written'),
    {
      name: 'cert-dir',
      kind: 'string',
      value: 'DIR',
      default: '/var/lib/kubelet/pki',
      help: 'where that certificate is kept',
    },
    { name: 'rotate-certificates', kind: 'bool', default: true, help: 'renew it before it expires' },
    file('config', 'a KubeletConfiguration; a field that has no meaning here is refused'),
    {
      name: 'container-runtime-endpoint',
      kind: 'string',
      value: 'URL',
      help: "the container runtime's socket (default: containerd's or CRI-O's); simulated:// runs none",
    },
    { name: 'hostname-override', kind: 'string', value: 'NAME', help: 'name of the node (default: the host name)' },
    { name: 'node-ip', kind: 'list', value: 'ADDRESS', help: "the node's address, one a family" },
    { name: 'node-labels', kind: 'map', help: 'labels to register the node with' },
    { name: 'register-node', kind: 'bool', help: 'register the node (default true)' },
    { name: 'register-with-taints', kind: 'list', value: 'key=value:effect,…', help: 'taints to register it with' },
    { name: 'address', kind: 'string', value: 'ADDRESS', help: 'where to serve (default 0.0.0.0)' },
    { name: 'port', kind: 'int', help: 'port to serve on (default 10250); 0 picks a free one' },
    { name: 'healthz-bind-address', kind: 'string', value: 'ADDRESS', help: 'where /healthz is (default 127.0.0.1)' },
    { name: 'healthz-port', kind: 'int', help: 'port of /healthz (default 10248); 0 serves none' },
    file('tls-cert-file', 'serving certificate; self-signed when left out'),
    file('tls-private-key-file', 'its key'),
    file('client-ca-file', 'authorities of client certificates'),
    { name: 'anonymous-auth', kind: 'bool', help: 'callers without credentials are system:anonymous (default false)' },
    {
      name: 'authentication-token-webhook',
      kind: 'bool',
      help: 'bearer tokens are checked by the API server (default true)',
    },
    {
      name: 'authorization-mode',
      kind: 'string',
      choices: ['AlwaysAllow', 'Webhook'],
      help: 'who decides what callers may (default Webhook: the API server)',
    },
    { name: 'cluster-dns', kind: 'list', value: 'ADDRESS,…', help: 'name servers of the pods' },
    { name: 'cluster-domain', kind: 'string', value: 'DOMAIN', help: "the cluster's domain (default cluster.local)" },
    { name: 'max-pods', kind: 'int', help: 'how many pods the node takes (default 110)' },
    { name: 'pod-cidr', kind: 'string', value: 'CIDR', help: 'range of pod addresses (default: given by the cluster)' },
    { name: 'provider-id', kind: 'string', value: 'ID', help: "the node's id at its cloud" },
    { name: 'cloud-provider', kind: 'string', choices: ['external'], help: 'wait for a cloud-controller-manager' },
    {
      name: 'cni-conf-dir',
      kind: 'string',
      value: 'DIR',
      default: '/etc/cni/net.d',
      help: 'where the runtime reads its network configuration; ours is written there when none stands',
    },
    { name: 'cgroup-root', kind: 'string', value: 'PATH', default: '/', help: 'the cgroup below which pods run' },
    {
      name: 'cluster-cidr',
      kind: 'list',
      value: 'CIDR,…',
      help: 'ranges of all pods, which they reach with their own address',
    },
    { name: 'root-dir', kind: 'string', value: 'DIR', default: '/var/lib/kubelet', help: 'as pods see it in paths' },
  ],
  examples: [
    [
      'knarr kubelet --kubeconfig nodes/node-1/kubelet.conf --hostname-override node-1 --client-ca-file pki/ca.crt --container-runtime-endpoint simulated://',
      'with the files of "knarr certificates --nodes node-1"',
    ],
    [
      'knarr kubelet … --tls-cert-file nodes/node-1/pki/kubelet.crt --tls-private-key-file nodes/node-1/pki/kubelet.key',
      'with a certificate that kube-apiserver --kubelet-certificate-authority pki/ca.crt takes',
    ],
  ],
  async run(v, env) {
    const { runKubelet } = await import('../../cluster/processes/kubelet.ts');
    const { parseTaints } = await import('../../cluster/processes/kubelet-config.ts');
    const taints = v.list('register-with-taints');
    await runKubelet(
      {
        kubeconfig: v.string('kubeconfig'),
        bootstrapKubeconfig: v.string('bootstrap-kubeconfig'),
        certDir: v.text('cert-dir'),
        rotateCertificates: v.bool('rotate-certificates'),
        cniConfDir: v.text('cni-conf-dir'),
        cgroupRoot: v.text('cgroup-root'),
        clusterCidrs: v.list('cluster-cidr'),
        config: v.string('config'),
        containerRuntimeEndpoint: v.string('container-runtime-endpoint'),
        hostnameOverride: v.string('hostname-override'),
        nodeIp: v.list('node-ip'),
        nodeLabels: v.map('node-labels'),
        registerNode: v.maybe<boolean>('register-node'),
        registerWithTaints: taints.length === 0 ? undefined : parseTaints(taints),
        address: v.string('address'),
        port: v.maybe<number>('port') === undefined ? undefined : v.port('port'),
        healthzBindAddress: v.string('healthz-bind-address'),
        healthzPort: v.maybe<number>('healthz-port') === undefined ? undefined : v.port('healthz-port'),
        tlsCertFile: v.string('tls-cert-file'),
        tlsPrivateKeyFile: v.string('tls-private-key-file'),
        clientCaFile: v.string('client-ca-file'),
        anonymousAuth: v.maybe<boolean>('anonymous-auth'),
        tokenWebhook: v.maybe<boolean>('authentication-token-webhook'),
        authorizationMode: v.string('authorization-mode') as 'AlwaysAllow' | 'Webhook' | undefined,
        clusterDns: v.list('cluster-dns'),
        clusterDomain: v.string('cluster-domain'),
        maxPods: v.maybe<number>('max-pods'),
        podCidr: v.string('pod-cidr'),
        providerId: v.string('provider-id'),
        cloudProvider: v.string('cloud-provider') as 'external' | undefined,
        rootDir: v.text('root-dir'),
      },
      env,
    );
  },
});
