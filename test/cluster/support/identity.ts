/** Whom the API server takes somebody for: reviews of tokens, and of oneself. */
import assert from 'node:assert/strict';
import type { Cluster } from '../../../src/index.ts';
import { connectApi } from '../../support/api.ts';
import type { Answer, Api, Json } from '../../support/api.ts';

const reviews = '/apis/authentication.k8s.io/v1/tokenreviews';
export const whoami = '/apis/authentication.k8s.io/v1/selfsubjectreviews';
export const selfReview = { apiVersion: 'authentication.k8s.io/v1', kind: 'SelfSubjectReview' };

export async function review(api: Api, token: string, audiences?: readonly string[]): Promise<Json> {
  const answer = await api.create(reviews, {
    apiVersion: 'authentication.k8s.io/v1',
    kind: 'TokenReview',
    spec: { token, ...(audiences === undefined ? {} : { audiences }) },
  });
  assert.equal(answer.status, 201, answer.text);
  return answer.body.status;
}

/** Who the API server takes the holder of this token for. */
export async function userOf(cluster: Cluster, token: string | undefined): Promise<Answer> {
  const api = connectApi(cluster, token === undefined ? {} : { token });
  try {
    return await api.create(whoami, selfReview);
  } finally {
    api.close();
  }
}
