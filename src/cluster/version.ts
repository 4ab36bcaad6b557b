/** What knarr says of its version, as upstream's `version.Info`. */
export { gitVersion, kubernetesVersion } from '../api/version.ts';
export const knarrVersion = '0.1.0';
