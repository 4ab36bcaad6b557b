/**
 * Zones of in-tree volumes, which stand in their node affinity or in labels, as the node affinity that their driver's nodes are
 * labelled for. What the affinity says goes before labels.
 */
import type { NodeSelectorTerm, PersistentVolume } from '../../types/index.gen.ts';

const zone = 'topology.kubernetes.io/zone';
const region = 'topology.kubernetes.io/region';
export const betaZone = 'failure-domain.beta.kubernetes.io/zone';
const betaRegion = 'failure-domain.beta.kubernetes.io/region';
/** Between the zones of one label. */
export const zoneDelimiter = '__';
export { zone as zoneLabelKey };

const termsOf = (volume: PersistentVolume): readonly NodeSelectorTerm[] =>
  volume.spec?.nodeAffinity?.required?.nodeSelectorTerms ?? [];

const mentions = (volume: PersistentVolume, key: string): boolean =>
  termsOf(volume).some((t) => t.matchExpressions?.some((e) => e.key === key) === true);

const hasValues = (volume: PersistentVolume, key: string): boolean =>
  termsOf(volume).some((t) => t.matchExpressions?.some((e) => e.key === key && (e.values?.length ?? 0) > 0) === true);

/** Which pair of labels a volume uses: the present names, or those before 1.17. */
export function topologyLabels(volume: PersistentVolume): { readonly zone: string; readonly region: string } {
  const now = { zone, region };
  const before = { zone: betaZone, region: betaRegion };
  if (mentions(volume, zone)) return now;
  if (mentions(volume, betaZone)) return before;
  if (volume.metadata.labels?.[zone] !== undefined) return now;
  return volume.metadata.labels?.[betaZone] === undefined ? now : before;
}

function withTerms(volume: PersistentVolume, terms: NodeSelectorTerm[]): PersistentVolume {
  return { ...volume, spec: { ...volume.spec, nodeAffinity: { required: { nodeSelectorTerms: terms } } } };
}

function renamed(volume: PersistentVolume, from: string, to: string): PersistentVolume {
  return withTerms(
    volume,
    termsOf(volume).map((term) =>
      term.matchExpressions === undefined
        ? term
        : { ...term, matchExpressions: term.matchExpressions.map((e) => (e.key === from ? { ...e, key: to } : e)) },
    ),
  );
}

function added(volume: PersistentVolume, key: string, values: readonly string[]): PersistentVolume {
  const zones = [...new Set(values.map((v) => v.trim()).filter((v) => v !== ''))].sort();
  if (zones.length === 0) return volume;
  const expression = { key, operator: 'In', values: zones };
  const terms: readonly NodeSelectorTerm[] = termsOf(volume).length === 0 ? [{}] : termsOf(volume);
  return withTerms(
    volume,
    terms.map((term) => ({ ...term, matchExpressions: [...(term.matchExpressions ?? []), expression] })),
  );
}

/** Moves one label's topology to `key`. `several`: the label may name more zones than one. */
export function moved(volume: PersistentVolume, label: string, key: string, several: boolean): PersistentVolume {
  if (hasValues(volume, label)) return renamed(volume, label, key);
  const value = volume.metadata.labels?.[label];
  if (value === undefined) return volume;
  return added(volume, key, several ? value.split(zoneDelimiter) : [value]);
}

/** For drivers with one key, that of their zones. */
export function zonesForDriver(volume: PersistentVolume, key: string): PersistentVolume {
  const labels = topologyLabels(volume);
  const out = moved(volume, labels.zone, key, true);
  // Nodes no longer have the old label.
  return labels.region === betaRegion && hasValues(out, betaRegion) ? renamed(out, betaRegion, region) : out;
}
