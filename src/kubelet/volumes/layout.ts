/** Where volumes live below the kubelet's directory: the names are upstream's, so that either kubelet finds the other's. */
import type { Volume } from '../../api/types/index.gen.ts';

/** Kinds of volumes whose content the kubelet makes. */
export type OwnKind = 'configMap' | 'secret' | 'projected' | 'downwardAPI' | 'emptyDir';

const plugins: Readonly<Record<OwnKind, string>> = {
  configMap: 'kubernetes.io~configmap',
  secret: 'kubernetes.io~secret',
  projected: 'kubernetes.io~projected',
  downwardAPI: 'kubernetes.io~downward-api',
  emptyDir: 'kubernetes.io~empty-dir',
};

export const localPlugin = 'kubernetes.io~local-volume';
export const csiPlugin = 'kubernetes.io~csi';

/** Undefined for volumes that are made elsewhere. */
export function ownKind(v: Volume): OwnKind | undefined {
  if (v.configMap !== undefined) return 'configMap';
  if (v.secret !== undefined) return 'secret';
  if (v.projected !== undefined) return 'projected';
  if (v.downwardAPI !== undefined) return 'downwardAPI';
  if (v.emptyDir !== undefined) return 'emptyDir';
  return undefined;
}

/** A plugin's name as it is counted: `kubernetes.io/secret`. */
export function pluginName(kind: OwnKind): string {
  return plugins[kind].replace('~', '/');
}

/** `PODDIR/volumes/kubernetes.io~secret/NAME` */
export function volumeDir(podDir: string, kind: OwnKind, name: string): string {
  return `${podDir}/volumes/${plugins[kind]}/${name}`;
}

/** Whether an emptyDir's directory was set up once already: its content must then be left alone. */
export function readyFile(podDir: string, name: string): string {
  return `${podDir}/plugins/${plugins.emptyDir}/${name}/ready`;
}

/** Kept in memory, because secrets must not reach a disk. */
export function inMemory(kind: OwnKind): boolean {
  return kind === 'secret' || kind === 'projected' || kind === 'downwardAPI';
}

/** The claim behind a volume: a named one, or the one made for an ephemeral volume of the pod. */
export function claimName(v: Volume, pod: string): string | undefined {
  return v.persistentVolumeClaim?.claimName ?? (v.ephemeral === undefined ? undefined : `${pod}-${v.name}`);
}
