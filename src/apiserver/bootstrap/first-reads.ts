/** Resources that are read into memory before they are asked for. */

type Named = readonly (readonly [group: string, resource: string])[];

/** What authorizers and admission read synchronously. */
export const warmed: Named = [
  ['', 'namespaces'],
  ['', 'serviceaccounts'],
  ['', 'secrets'],
  ['', 'nodes'],
  ['', 'pods'],
  ['', 'limitranges'],
  ['', 'resourcequotas'],
  ['', 'services'],
  ['networking.k8s.io', 'ipaddresses'],
  ['', 'persistentvolumeclaims'],
  ['', 'persistentvolumes'],
  ['scheduling.k8s.io', 'priorityclasses'],
  ['storage.k8s.io', 'storageclasses'],
  ['storage.k8s.io', 'csidrivers'],
  ['node.k8s.io', 'runtimeclasses'],
  ['networking.k8s.io', 'ingressclasses'],
];

/** What bootstrap compares with. */
export const bootstrapped: Named = [
  ['rbac.authorization.k8s.io', 'roles'],
  ['rbac.authorization.k8s.io', 'rolebindings'],
  ['rbac.authorization.k8s.io', 'clusterroles'],
  ['rbac.authorization.k8s.io', 'clusterrolebindings'],
  ['flowcontrol.apiserver.k8s.io', 'flowschemas'],
  ['flowcontrol.apiserver.k8s.io', 'prioritylevelconfigurations'],
  ['networking.k8s.io', 'servicecidrs'],
  ['discovery.k8s.io', 'endpointslices'],
  ['coordination.k8s.io', 'leases'],
  ['', 'endpoints'],
  ['', 'configmaps'],
];
