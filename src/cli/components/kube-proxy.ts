/** `knarr kube-proxy` */
import { componentCommand } from './component.ts';

export const proxyCommand = componentCommand({
  name: 'kube-proxy',
  summary: 'follows Services for a node',
  description:
    'Follows Services and their endpoints and keeps the map of what each address leads to. Nothing on this machine is changed by it until the packet filter is there.',
  flags: [
    { name: 'kubeconfig', kind: 'string', value: 'FILE', help: 'how to reach the API server, and as whom' },
    { name: 'master', kind: 'string', value: 'URL', help: "the API server's address, instead of the kubeconfig's" },
    { name: 'hostname-override', kind: 'string', value: 'NAME', help: 'name of the node (default: the host name)' },
    { name: 'proxy-mode', kind: 'string', value: 'MODE', help: 'what makes Services real; simulated is what there is' },
    {
      name: 'healthz-bind-address',
      kind: 'string',
      value: 'ADDRESS:PORT',
      default: '0.0.0.0:10256',
      help: 'where /healthz is; port 0 serves none',
    },
    {
      name: 'metrics-bind-address',
      kind: 'string',
      value: 'ADDRESS:PORT',
      default: '127.0.0.1:10249',
      help: 'where /metrics and /proxyMode are; port 0 serves none',
    },
  ],
  examples: [
    [
      'knarr kube-proxy --kubeconfig kube-proxy.conf --hostname-override node-1 --proxy-mode simulated',
      'with a kubeconfig of "knarr certificates"',
    ],
  ],
  async run(v, env) {
    const { runProxy } = await import('../../cluster/processes/kube-proxy.ts');
    await runProxy(
      {
        kubeconfig: v.string('kubeconfig'),
        master: v.string('master'),
        hostnameOverride: v.string('hostname-override'),
        proxyMode: v.string('proxy-mode'),
        healthzBindAddress: v.text('healthz-bind-address'),
        metricsBindAddress: v.text('metrics-bind-address'),
      },
      env,
    );
  },
});
