/**
 * Who may use an image that the node has already (KEP-2535): the kubelet keeps a record of each image that it has pulled, with the
 * credentials that were good for it, in upstream's files below `image_manager`; a pod that shows none of them must pull for itself.
 */
import { createHash } from 'node:crypto';
import type { Clock } from '../../base/clock.ts';
import type { Logger } from '../../base/logger.ts';
import { formatTime } from '../../api/time.ts';
import type { KubeletConfiguration } from '../configuration/configuration.ts';
import type { NodeHost } from '../host/node-host.ts';
import { allowlisted, untagged } from './image-allowlist.ts';

/** A pull secret that has an entry for the image's registry. */
export interface PullSecret {
  readonly uid: string;
  readonly namespace: string;
  readonly name: string;
  readonly credentialHash: string;
}

interface Credentials {
  readonly kubernetesSecrets?: readonly PullSecret[];
  readonly nodePodsAccessible?: boolean;
}

interface PulledRecord {
  readonly lastUpdatedTime: string;
  readonly imageRef: string;
  readonly credentialMapping: Readonly<Record<string, Credentials>>;
}

const apiVersion = 'kubelet.config.k8s.io/v1beta1';
const maxRecord = 1024 * 1024;
/** So many secrets are kept of one image. */
const maxSecrets = 100;

const fileName = (name: string): string => `sha256-${createHash('sha256').update(name).digest('hex')}`;

export interface PullRecordsOptions {
  readonly configuration: KubeletConfiguration | undefined;
  readonly host: NodeHost;
  readonly rootDir: string;
  readonly clock: Clock;
  readonly logger: Logger;
}

export class PullRecords {
  readonly #o: PullRecordsOptions;
  readonly #dir: string;
  readonly #intents = new Map<string, number>();

  constructor(options: PullRecordsOptions) {
    this.#o = options;
    this.#dir = `${options.rootDir}/image_manager`;
  }

  /** Without a configuration every pod may use every image that is there. */
  get #policy(): string {
    return this.#o.configuration?.imagePullCredentialsVerificationPolicy ?? 'NeverVerify';
  }

  get enabled(): boolean {
    return this.#policy !== 'NeverVerify';
  }

  #verifies(image: string, pulledByKubelet: boolean): boolean {
    switch (this.#policy) {
      case 'NeverVerifyPreloadedImages':
        return pulledByKubelet;
      case 'NeverVerifyAllowlistedImages':
        return !allowlisted(this.#o.configuration?.preloadedImagesVerificationAllowlist ?? [], image);
      default:
        return this.#policy === 'AlwaysVerify';
    }
  }

  /** Whether a pod that shows these credentials must pull an image that is there. */
  async mustPull(image: string, imageRef: string, secrets: () => Promise<readonly PullSecret[]>): Promise<boolean> {
    if (!this.enabled) return false;
    let record: PulledRecord | undefined;
    let byKubelet: boolean;
    try {
      record = await this.#read(imageRef);
      byKubelet = record !== undefined || this.#intents.has(image) || (await this.#intended(image));
    } catch (error) {
      this.#o.logger.warn('Unable to access cache records about image pulls', { image, error });
      return true;
    }
    if (!this.#verifies(image, byKubelet)) return false;
    const known = record?.credentialMapping[untagged(image)];
    if (known === undefined) return true;
    if (known.nodePodsAccessible === true) return false;
    const kept = known.kubernetesSecrets ?? [];
    if (kept.length === 0) return true;
    for (const own of await secrets())
      for (const k of kept) {
        const sameHash = k.credentialHash !== '' && k.credentialHash === own.credentialHash;
        const sameSecret = k.uid === own.uid && k.namespace === own.namespace && k.name === own.name;
        if (!sameHash && !sameSecret) continue;
        if (!sameHash || !sameSecret) await this.pulled(image, imageRef, own);
        return false;
      }
    return true;
  }

  /** A pull begins: until it has ended, the image counts as one that the kubelet has pulled. */
  async intend(image: string): Promise<void> {
    if (!this.enabled) return;
    const before = this.#intents.get(image) ?? 0;
    this.#intents.set(image, before + 1);
    if (before > 0) return;
    const text = JSON.stringify({ kind: 'ImagePullIntent', apiVersion, image });
    await this.#o.host.replaceFile(`${this.#dir}/pulling/${fileName(image)}`, text, 0o600);
  }

  /** A pull has ended. `secret`: whose credentials were used; undefined for none, so that all pods of the node may use the image. */
  async ended(
    image: string,
    result: { readonly imageRef: string; readonly secret: PullSecret | undefined } | undefined,
  ): Promise<void> {
    if (!this.enabled) return;
    try {
      if (result !== undefined) await this.pulled(image, result.imageRef, result.secret);
      const left = (this.#intents.get(image) ?? 1) - 1;
      if (left > 0) {
        this.#intents.set(image, left);
        return;
      }
      this.#intents.delete(image);
      await this.#o.host.remove(`${this.#dir}/pulling/${fileName(image)}`);
    } catch (error) {
      this.#o.logger.warn('failed to write image pulled record', { image, error });
    }
  }

  /** Adds what was good for an image to its record. */
  async pulled(image: string, imageRef: string, secret: PullSecret | undefined): Promise<void> {
    const name = untagged(image);
    // One that cannot be read proves nothing, and is written anew.
    const record = await this.#read(imageRef).catch(() => undefined);
    const before = record?.credentialMapping[name];
    if (before?.nodePodsAccessible === true) return;
    const others = (before?.kubernetesSecrets ?? []).filter(
      (s) =>
        secret !== undefined && !(s.uid === secret.uid && s.namespace === secret.namespace && s.name === secret.name),
    );
    const now: Credentials =
      secret === undefined
        ? { nodePodsAccessible: true }
        : { kubernetesSecrets: [...others, secret].slice(-maxSecrets) };
    const next: PulledRecord = {
      lastUpdatedTime: formatTime(this.#o.clock.now()),
      imageRef,
      credentialMapping: { ...record?.credentialMapping, [name]: now },
    };
    const text = JSON.stringify({ kind: 'ImagePulledRecord', apiVersion, ...next });
    await this.#o.host.replaceFile(`${this.#dir}/pulled/${fileName(imageRef)}`, text, 0o600);
  }

  /** Forgets images that are not on the node any more. */
  async prune(present: ReadonlySet<string>): Promise<void> {
    if (!this.enabled) return;
    const keep = new Set([...present].map(fileName));
    for (const file of await this.#o.host.list(`${this.#dir}/pulled`))
      if (!keep.has(file)) await this.#o.host.remove(`${this.#dir}/pulled/${file}`);
  }

  async #intended(image: string): Promise<boolean> {
    return (await this.#o.host.stat(`${this.#dir}/pulling/${fileName(image)}`)) !== undefined;
  }

  async #read(imageRef: string): Promise<PulledRecord | undefined> {
    const path = `${this.#dir}/pulled/${fileName(imageRef)}`;
    const data = await this.#o.host.readFile(path, { maxBytes: maxRecord });
    if (data === undefined) return undefined;
    const record = JSON.parse(data.toString()) as Partial<PulledRecord>;
    return record.imageRef === imageRef ? ({ credentialMapping: {}, ...record } as PulledRecord) : undefined;
  }
}
