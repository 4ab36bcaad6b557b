/**
 * What belongs to which node: for each node the objects that the pods on it refer to, counted, so that the Node authorizer
 * answers with a look-up. Kept by following pods, volumes, attachments and resource slices.
 */
import { ioNow } from '../../base/io-time.ts';
import { HistogramVector } from '../metrics/exposition.ts';
import type { Family } from '../metrics/exposition.ts';
import type { PersistentVolume, Pod } from '../../api/types/core-v1.gen.ts';
import type { Registries } from '../registry.ts';
import type { Committed } from '../request.ts';
import {
  podClaimNames,
  podConfigMapNames,
  podResourceClaimNames,
  podSecretNames,
  volumeSecrets,
} from '../../api/helpers/pod-references.ts';

export type NodeObjectType =
  | 'configmap'
  | 'pod'
  | 'pvc'
  | 'pv'
  | 'resourceclaim'
  | 'resourceslice'
  | 'secret'
  | 'serviceaccount'
  | 'volumeattachment'
  | 'podcertificaterequest';

interface PodEntry {
  node: string;
  references: readonly string[];
  /** A newer version of the pod whose references have not been read. */
  newer: Committed | undefined;
}

const mirrorAnnotation = 'kubernetes.io/config.mirror';

function reference(type: NodeObjectType, namespace: string, name: string): string {
  return `${type}:${namespace}/${name}`;
}

function podReferences(pod: Pod, namespace: string, name: string): string[] {
  const out = [reference('pod', namespace, name)];
  // A node must not gain access to other objects by creating a mirror pod.
  if (pod.metadata?.annotations?.[mirrorAnnotation] !== undefined) return out;
  const account = pod.spec?.serviceAccountName;
  if (account !== undefined && account !== '') out.push(reference('serviceaccount', namespace, account));
  for (const n of podSecretNames(pod)) out.push(reference('secret', namespace, n));
  for (const n of podConfigMapNames(pod)) out.push(reference('configmap', namespace, n));
  for (const n of podClaimNames(pod)) out.push(reference('pvc', namespace, n));
  for (const n of podResourceClaimNames(pod)) out.push(reference('resourceclaim', namespace, n));
  return out;
}

export class NodeGraph {
  /** Per node: reference → how many pods (or other objects) of the node hold it. */
  readonly #nodes = new Map<string, Map<string, number>>();
  readonly #pods = new Map<string, PodEntry>();
  /** Pods of a node whose newest version has not been read. */
  readonly #stale = new Map<string, Set<PodEntry>>();
  /** Volumes: the claim they are bound to, and the Secrets they use. */
  readonly #volumes = new Map<string, { claim: string; secrets: readonly string[] }>();
  readonly #secretVolumes = new Map<string, Set<string>>();
  /** Attachments, slices, certificate requests: the node they name. */
  readonly #direct = new Map<string, string>();
  readonly #stops: (() => void)[] = [];

  readonly #actions = new HistogramVector(
    'node_authorizer_graph_actions_duration_seconds',
    'Histogram of duration of graph actions in node authorizer.',
    Array.from({ length: 12 }, (_, i) => 0.0001 * 2 ** i),
  );
  readonly families: readonly Family[] = [this.#actions];

  async start(registries: Registries): Promise<void> {
    const follow = async (
      group: string,
      resource: string,
      name: string,
      on: (type: 'put' | 'delete', c: Committed) => void,
    ) => {
      if (registries.registry(group, resource) === undefined) return;
      const timer = (operation: string) => this.#actions.series(operation, () => ({ operation }));
      const [adding, deleting] = [timer(`Add${name}`), timer(`Delete${name}`)];
      this.#stops.push(
        await registries.follow(group, resource, (type, committed) => {
          const began = ioNow();
          on(type, committed);
          (type === 'put' ? adding : deleting).observe((ioNow() - began) / 1000);
        }),
      );
    };
    const nodeNameOf = (c: Committed): string =>
      ((c.object()['spec'] as { nodeName?: string } | undefined)?.nodeName ?? '').toString();
    await Promise.all([
      follow('', 'pods', 'Pod', (type, c) => this.#onPod(type, c)),
      follow('', 'persistentvolumes', 'PV', (type, c) => this.#onVolume(type, c)),
      follow('storage.k8s.io', 'volumeattachments', 'VolumeAttachment', (type, c) =>
        this.#onDirect('volumeattachment', type === 'delete' ? '' : nodeNameOf(c), '', c.name),
      ),
      follow('resource.k8s.io', 'resourceslices', 'ResourceSlice', (type, c) =>
        this.#onDirect('resourceslice', type === 'delete' ? '' : nodeNameOf(c), '', c.name),
      ),
      follow('certificates.k8s.io', 'podcertificaterequests', 'PodCertificateRequest', (type, c) =>
        this.#onDirect('podcertificaterequest', type === 'delete' ? '' : nodeNameOf(c), c.namespace, c.name),
      ),
    ]);
  }

  close(): void {
    for (const stop of this.#stops.splice(0)) stop();
  }

  #add(node: string, references: readonly string[]): void {
    let held = this.#nodes.get(node);
    if (held === undefined) this.#nodes.set(node, (held = new Map()));
    for (const r of references) held.set(r, (held.get(r) ?? 0) + 1);
  }

  #remove(node: string, references: readonly string[]): void {
    const held = this.#nodes.get(node);
    if (held === undefined) return;
    for (const r of references) {
      const count = (held.get(r) ?? 0) - 1;
      if (count > 0) held.set(r, count);
      else held.delete(r);
    }
    if (held.size === 0) this.#nodes.delete(node);
  }

  #onPod(type: 'put' | 'delete', committed: Committed): void {
    const key = `${committed.namespace}/${committed.name}`;
    const entry = this.#pods.get(key);
    if (type === 'delete') {
      if (entry === undefined) return;
      this.#remove(entry.node, entry.references);
      this.#stale.get(entry.node)?.delete(entry);
      this.#pods.delete(key);
      return;
    }
    if (entry !== undefined) {
      // Node and references of a bound pod hardly change; a newer version is read when somebody asks in vain.
      if (entry.newer === undefined) {
        let stale = this.#stale.get(entry.node);
        if (stale === undefined) this.#stale.set(entry.node, (stale = new Set()));
        stale.add(entry);
      }
      entry.newer = committed;
      return;
    }
    if (!committed.bytes.includes('"nodeName":"')) return;
    const pod = committed.object() as unknown as Pod;
    const node = pod.spec?.nodeName ?? '';
    if (node === '') return;
    const references = podReferences(pod, committed.namespace, committed.name);
    this.#pods.set(key, { node, references, newer: undefined });
    this.#add(node, references);
  }

  /** Reads the newer versions of the node's pods. True when there were any. */
  #refresh(node: string): boolean {
    const stale = this.#stale.get(node);
    if (stale === undefined || stale.size === 0) return false;
    this.#stale.delete(node);
    for (const entry of stale) {
      const committed = entry.newer!;
      entry.newer = undefined;
      this.#remove(entry.node, entry.references);
      entry.references = podReferences(committed.object() as unknown as Pod, committed.namespace, committed.name);
      this.#add(entry.node, entry.references);
    }
    return true;
  }

  #onVolume(type: 'put' | 'delete', committed: Committed): void {
    const before = this.#volumes.get(committed.name);
    if (before !== undefined) {
      for (const secret of before.secrets) {
        const volumes = this.#secretVolumes.get(secret);
        volumes?.delete(committed.name);
        if (volumes?.size === 0) this.#secretVolumes.delete(secret);
      }
      this.#volumes.delete(committed.name);
    }
    if (type === 'delete') return;
    const pv = committed.object() as unknown as PersistentVolume;
    const claimRef = pv.spec?.claimRef;
    if (claimRef === undefined) return;
    const secrets = volumeSecrets(pv);
    this.#volumes.set(committed.name, {
      claim: reference('pvc', claimRef.namespace ?? '', claimRef.name ?? ''),
      secrets,
    });
    for (const secret of secrets) {
      let volumes = this.#secretVolumes.get(secret);
      if (volumes === undefined) this.#secretVolumes.set(secret, (volumes = new Set()));
      volumes.add(committed.name);
    }
  }

  #onDirect(type: NodeObjectType, node: string, namespace: string, name: string): void {
    const key = reference(type, namespace, name);
    if (node === '') this.#direct.delete(key);
    else this.#direct.set(key, node);
  }

  #related(node: string, type: NodeObjectType, namespace: string, name: string): boolean {
    const held = this.#nodes.get(node);
    if (type === 'pv') {
      const volume = this.#volumes.get(name);
      return volume !== undefined && held?.has(volume.claim) === true;
    }
    if (held?.has(reference(type, namespace, name)) === true) return true;
    if (type !== 'secret') return false;
    for (const pv of this.#secretVolumes.get(`${namespace}/${name}`) ?? [])
      if (held?.has(this.#volumes.get(pv)!.claim) === true) return true;
    return false;
  }

  /** Is there a path from the object to the node? */
  isRelated(node: string, type: NodeObjectType, namespace: string, name: string): boolean {
    if (type === 'volumeattachment' || type === 'resourceslice' || type === 'podcertificaterequest')
      return this.#direct.get(reference(type, namespace, name)) === node;
    // Claims are the one thing that a bound pod may let go of.
    if (type === 'resourceclaim') this.#refresh(node);
    if (this.#related(node, type, namespace, name)) return true;
    return this.#refresh(node) && this.#related(node, type, namespace, name);
  }
}
