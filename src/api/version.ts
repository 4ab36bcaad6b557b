/** Which release of Kubernetes this is. The build metadata keeps version constraints of clients, Helm's among them, true. */
export const kubernetesVersion = 'v1.36.4';
export const gitVersion = `${kubernetesVersion}+knarr.1`;
