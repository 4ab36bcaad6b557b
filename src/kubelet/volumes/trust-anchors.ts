/**
 * The trust anchors of a projected `clusterTrustBundle` source (KEP-3257): the certificates of one bundle, or of all bundles of a
 * signer that a selector matches, each once, without the text around them. Read when the volume is made and whenever its
 * content is looked at again.
 */
import type { KubeObject } from '../../api/object.ts';
import { compileLabelSelector } from '../../api/selector.ts';
import type { ClusterTrustBundleProjection } from '../../api/types/index.gen.ts';
import type { TypedRef } from '../../client/resources.ts';
import type { TypedClient } from '../../client/typed-client.ts';
import { isNotFound } from '../../client/errors.ts';

interface ClusterTrustBundle extends KubeObject {
  readonly spec?: { readonly signerName?: string; readonly trustBundle?: string };
}

const bundles: TypedRef<ClusterTrustBundle> = {
  group: 'certificates.k8s.io',
  version: 'v1beta1',
  resource: 'clustertrustbundles',
  kind: 'ClusterTrustBundle',
  namespaced: false,
};

const block = /-----BEGIN CERTIFICATE-----([^-]*)-----END CERTIFICATE-----/g;
const lineLength = 64;

/** PEM of each certificate of the bundles once; upstream's order is no order, ours that of the bytes. */
function anchorsOf(found: readonly ClusterTrustBundle[]): string {
  const certificates = new Set<string>();
  for (const bundle of found)
    for (const [, body] of (bundle.spec?.trustBundle ?? '').matchAll(block))
      certificates.add(
        body!
          .split('\n')
          // Headers of a block name something; base64 has no colon.
          .filter((line) => !line.includes(':'))
          .join('')
          .replaceAll(/\s/g, ''),
      );
  return [...certificates]
    .toSorted()
    .map((base64) => {
      const lines = base64.match(new RegExp(`.{1,${lineLength}}`, 'g')) ?? [];
      return `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`;
    })
    .join('');
}

/** Rejects with upstream's text when there is no such bundle, unless the source is optional: then nothing is in the file. */
export async function trustAnchors(client: TypedClient, source: ClusterTrustBundleProjection): Promise<string> {
  const api = client.resource(bundles);
  const { name, signerName } = source;
  const optional = source.optional === true;
  if (name !== undefined) {
    try {
      return anchorsOf([await api.get(name)]);
    } catch (error) {
      if (optional && isNotFound(error)) return '';
      throw new Error(`while getting ClusterTrustBundle: ${error instanceof Error ? error.message : String(error)}`, {
        cause: error,
      });
    }
  }
  if (signerName === undefined)
    throw new Error('ClusterTrustBundle projection requires either name or signerName to be set');
  // No selector matches nothing, an empty one everything.
  const selector = source.labelSelector === undefined ? undefined : compileLabelSelector(source.labelSelector);
  const all: readonly ClusterTrustBundle[] = selector === undefined ? [] : (await api.list()).items;
  const found = all.filter((b) => b.spec?.signerName === signerName && selector!.matches(b.metadata.labels));
  if (found.length === 0 && !optional)
    throw new Error('combination of signerName and labelSelector matched zero ClusterTrustBundles');
  return anchorsOf(found);
}
