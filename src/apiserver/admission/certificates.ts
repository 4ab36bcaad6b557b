/**
 * The certificate plugins: who may approve (CertificateApproval), sign (CertificateSigning) and attest (ClusterTrustBundleAttest)
 * for a signer, and that no client certificate for `system:masters` is asked for (CertificateSubjectRestriction).
 */
import { readRequest, requestDer } from '../../base/certificate-request.ts';
import type { CertificateSigningRequest } from '../../api/types/certificates-v1.gen.ts';
import { mayForSigner } from '../authorization/signers.ts';
import type { AdmissionPlugin, Authorizer } from '../context.ts';
import { jsonEqual } from '../../api/patch/values.ts';
import { metadataOf, refuse } from './attributes.ts';

const group = 'certificates.k8s.io';
const resource = 'certificatesigningrequests';
const clientSigner = 'kubernetes.io/kube-apiserver-client';

function signerOf(object: Record<string, unknown> | undefined): string {
  return (object as unknown as CertificateSigningRequest | undefined)?.spec?.signerName ?? '';
}

export function certificateApproval(deps: { readonly authorizer: Authorizer }): AdmissionPlugin {
  return {
    name: 'CertificateApproval',
    handles: (operation, g, r, subresource) =>
      operation === 'UPDATE' && g === group && r === resource && subresource === 'approval',
    async validate(a) {
      const signer = signerOf(a.oldObject);
      if (!(await mayForSigner(deps.authorizer, a.user, 'approve', signer)))
        throw refuse(a, `user not permitted to approve requests with signerName ${JSON.stringify(signer)}`);
    },
  };
}

export function certificateSigning(deps: { readonly authorizer: Authorizer }): AdmissionPlugin {
  return {
    name: 'CertificateSigning',
    handles: (operation, g, r, subresource) =>
      operation === 'UPDATE' && g === group && r === resource && subresource === 'status',
    async validate(a) {
      const before = (a.oldObject as unknown as CertificateSigningRequest | undefined)?.status;
      const after = (a.object as unknown as CertificateSigningRequest | undefined)?.status;
      if (
        before?.certificate === after?.certificate &&
        JSON.stringify(before?.conditions ?? []) === JSON.stringify(after?.conditions ?? [])
      )
        return;
      const signer = signerOf(a.oldObject);
      if (!(await mayForSigner(deps.authorizer, a.user, 'sign', signer)))
        throw refuse(a, `user not permitted to sign requests with signerName ${JSON.stringify(signer)}`);
    },
  };
}

export const certificateSubjectRestriction: AdmissionPlugin = {
  name: 'CertificateSubjectRestriction',
  handles: (operation, g, r, subresource) =>
    operation === 'CREATE' && g === group && r === resource && subresource === '',
  async validate(a) {
    if (signerOf(a.object) !== clientSigner) return;
    let organizations: readonly string[];
    try {
      const request = (a.object as unknown as CertificateSigningRequest).spec?.request ?? '';
      ({ organizations } = await readRequest(requestDer(String(request))));
    } catch (error) {
      throw refuse(a, `failed to parse CSR: ${error instanceof Error ? error.message : String(error)}`);
    }
    if (organizations.includes('system:masters'))
      throw refuse(a, `use of ${clientSigner} signer with system:masters group is not allowed`);
  },
};

/** The object without what the garbage collector alone changes. */
function withoutOwners(object: Record<string, unknown> | undefined): unknown {
  const {
    ownerReferences: _o,
    finalizers: _f,
    managedFields: _m,
    resourceVersion: _r,
    ...metadata
  } = metadataOf(object);
  return { ...object, metadata };
}

export function clusterTrustBundleAttest(deps: { readonly authorizer: Authorizer }): AdmissionPlugin {
  return {
    name: 'ClusterTrustBundleAttest',
    handles: (operation, g, r) =>
      (operation === 'CREATE' || operation === 'UPDATE') && g === group && r === 'clustertrustbundles',
    async validate(a) {
      const signer = signerOf(a.object);
      if (signer === '') return;
      if (a.operation === 'UPDATE' && jsonEqual(withoutOwners(a.object), withoutOwners(a.oldObject))) return;
      if (!(await mayForSigner(deps.authorizer, a.user, 'attest', signer)))
        throw refuse(a, `user not permitted to attest for signerName ${JSON.stringify(signer)}`);
    },
  };
}
