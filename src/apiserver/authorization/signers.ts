/** Whether somebody may approve or sign for a signer of certificates: by its own name, or for all signers of its domain. */
import type { Authorizer } from '../context.ts';
import type { UserInfo } from '../request.ts';

/** @param verb `approve` or `sign` */
export async function mayForSigner(
  authorizer: Authorizer,
  user: UserInfo,
  verb: string,
  signer: string,
): Promise<boolean> {
  for (const name of [signer, `${signer.split('/')[0]}/*`]) {
    const { decision } = await authorizer.authorize({
      user,
      verb,
      isResourceRequest: true,
      group: 'certificates.k8s.io',
      version: '*',
      resource: 'signers',
      subresource: '',
      namespace: '',
      name,
      path: '',
    });
    if (decision === 'allow') return true;
  }
  return false;
}
