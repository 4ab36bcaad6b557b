/** The components of the reference architecture, and which of them a cluster can be started without. */

export const optionalComponents = [
  'kube-scheduler',
  'kube-controller-manager',
  'cloud-controller-manager',
  'kubelet',
  'kube-proxy',
  'dns',
  'local-path-provisioner',
  'metrics-server',
] as const;

export type OptionalComponent = (typeof optionalComponents)[number];

/** Those that are clients of the API server with an identity of upstream's, for which a kubeconfig can be had. */
export const broughtComponents = [
  'kube-scheduler',
  'kube-controller-manager',
  'cloud-controller-manager',
  'kube-proxy',
  'dns',
] as const;

export type BroughtComponent = (typeof broughtComponents)[number];

export const allComponents = ['etcd', 'kube-apiserver', ...optionalComponents] as const;

/** Upstream's identities of the components: user names and groups, none in system:masters. */
export const identities = {
  scheduler: { name: 'system:kube-scheduler', groups: [] },
  controllerManager: { name: 'system:kube-controller-manager', groups: [] },
  cloudControllerManager: {
    name: 'system:serviceaccount:kube-system:cloud-controller-manager',
    groups: ['system:serviceaccounts', 'system:serviceaccounts:kube-system'],
  },
  proxy: { name: 'system:kube-proxy', groups: [] },
  dns: {
    name: 'system:serviceaccount:kube-system:coredns',
    groups: ['system:serviceaccounts', 'system:serviceaccounts:kube-system'],
  },
  metricsServer: {
    name: 'system:serviceaccount:kube-system:metrics-server',
    groups: ['system:serviceaccounts', 'system:serviceaccounts:kube-system'],
  },
  admin: { name: 'kubernetes-admin', groups: ['kubeadm:cluster-admins'] },
  node: (name: string) => ({ name: `system:node:${name}`, groups: ['system:nodes'] }),
  controller: (name: string) => ({
    name: `system:serviceaccount:kube-system:${name}`,
    groups: ['system:serviceaccounts', 'system:serviceaccounts:kube-system'],
  }),
} as const;
