/** `knarr kubelet` */
import type { Flag } from '../flags.ts';
import { componentCommand } from './component.ts';
import { idleKubeletFlags } from './kubelet-idle-flags.ts';
import { configurationFlags, configurationOf } from './kubelet-flags.ts';

const file = (name: string, help: string): Flag => ({ name, kind: 'string', value: 'FILE', help });

export const kubeletCommand = componentCommand({
  name: 'kubelet',
  summary: "a node's agent",
  description:
    'Registers this node and runs the pods that are bound to it, by a container runtime; with --container-runtime-endpoint simulated:// containers start, log, answer and end, but nothing runs. Defaults are those of KubeletConfiguration; a flag goes before --config-dir, that before --config. What has no effect here is told when it starts.',
  // Upstream's is stricter than the other components.
  refuseArguments: ([first]) => `unknown command ${first}`,
  idle: idleKubeletFlags,
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
    file('config', 'a KubeletConfiguration'),
    {
      name: 'config-dir',
      kind: 'string',
      value: 'DIR',
      help: 'files ending in .conf that go before --config, in the order of their names',
    },
    ...configurationFlags,
    { name: 'hostname-override', kind: 'string', value: 'NAME', help: 'name of the node (default: the host name)' },
    { name: 'node-ip', kind: 'list', value: 'ADDRESS', help: "the node's address, one a family" },
    { name: 'node-labels', kind: 'map', help: 'labels to register the node with' },
    { name: 'cloud-provider', kind: 'string', choices: ['external'], help: 'wait for a cloud-controller-manager' },
    {
      name: 'cni-conf-dir',
      kind: 'string',
      value: 'DIR',
      default: '/etc/cni/net.d',
      help: 'where the runtime reads its network configuration; ours is written there when none stands',
    },
    {
      name: 'cluster-cidr',
      kind: 'list',
      value: 'CIDR,…',
      help: 'ranges of all pods, which they reach with their own address',
    },
    {
      name: 'image-credential-provider-config',
      kind: 'string',
      value: 'FILE|DIR',
      help: 'a CredentialProviderConfig, or a folder of them: programs that know credentials of registries',
    },
    {
      name: 'image-credential-provider-bin-dir',
      kind: 'string',
      value: 'DIR',
      help: 'where those programs are',
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
    const { flagNotations } = await import('../../cluster/processes/kubelet-notations.ts');
    await runKubelet(
      {
        kubeconfig: v.string('kubeconfig'),
        bootstrapKubeconfig: v.string('bootstrap-kubeconfig'),
        certDir: v.text('cert-dir'),
        cniConfDir: v.text('cni-conf-dir'),
        clusterCidrs: v.list('cluster-cidr'),
        config: v.string('config'),
        configDir: v.string('config-dir'),
        configuration: configurationOf(v, flagNotations),
        hostnameOverride: v.string('hostname-override'),
        nodeIp: v.list('node-ip'),
        nodeLabels: v.map('node-labels'),
        cloudProvider: v.string('cloud-provider') as 'external' | undefined,
        rootDir: v.text('root-dir'),
        imageCredentialProvider: {
          config: v.string('image-credential-provider-config'),
          binDir: v.string('image-credential-provider-bin-dir'),
        },
      },
      env,
    );
  },
});
