/** `knarr kube-apiserver`, `knarr etcd`, …: one component alone, with upstream's flag names. */
import { addonsCommand, certificatesCommand } from './components/certificates.ts';
import { cloudControllerManagerCommand } from './components/cloud-controller-manager.ts';
import { dnsCommand } from './components/dns.ts';
import { etcdCommand } from './components/etcd.ts';
import { apiServerCommand } from './components/kube-apiserver.ts';
import { controllerManagerCommand } from './components/kube-controller-manager.ts';
import { kubeletCommand } from './components/kubelet.ts';
import { proxyCommand } from './components/kube-proxy.ts';
import { podNetworkCommand } from './components/pod-network.ts';
import { schedulerCommand } from './components/kube-scheduler.ts';
import type { CommandSpec } from './flags.ts';

export const componentCommands: readonly CommandSpec[] = [
  apiServerCommand,
  etcdCommand,
  schedulerCommand,
  controllerManagerCommand,
  cloudControllerManagerCommand,
  kubeletCommand,
  proxyCommand,
  dnsCommand,
  podNetworkCommand,
];

/** What goes with them: the installer's part. */
export const installerCommands: readonly CommandSpec[] = [certificatesCommand, addonsCommand];
