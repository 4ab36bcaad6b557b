/** What knarr says of its version, as upstream's `version.Info`. Build metadata keeps Helm's version constraints true. */
export const kubernetesVersion = 'v1.36.4';
export const knarrVersion = '0.1.0';
export const gitVersion = `${kubernetesVersion}+knarr.1`;
