/** What the metrics server needs in the API: its APIService, its account, and the roles by which people read what it tells. */
import type { KubeObject } from '../../api/object.ts';
import { isNotFound } from '../../client/errors.ts';
import type { TypedClient } from '../../client/typed-client.ts';
import { metricsGroup, metricsVersion } from './metrics-api.ts';

const rbac = 'rbac.authorization.k8s.io';
const apiServices = '/apis/apiregistration.k8s.io/v1/apiservices';
const name = `${metricsVersion}.${metricsGroup}`;
const labels = { 'k8s-app': 'metrics-server' };

/**
 * The names are those of metrics-server's own manifests, which thus take the place of these.
 * @param scrapes kubelets are asked over the network, by an account of its own
 */
export function metricsAddons(scrapes: boolean): { readonly path: string; readonly object: KubeObject }[] {
  const role = (object: object): { path: string; object: KubeObject } => ({
    path: `/apis/${rbac}/v1/clusterroles`,
    object: { apiVersion: `${rbac}/v1`, kind: 'ClusterRole', ...object } as KubeObject,
  });
  const reading = [
    {
      path: apiServices,
      object: {
        apiVersion: 'apiregistration.k8s.io/v1',
        kind: 'APIService',
        metadata: { name, labels },
        // Without a service it is answered here.
        spec: { group: metricsGroup, version: metricsVersion, groupPriorityMinimum: 100, versionPriority: 100 },
      } as KubeObject,
    },
    role({
      metadata: {
        name: 'system:aggregated-metrics-reader',
        labels: {
          ...labels,
          'rbac.authorization.k8s.io/aggregate-to-admin': 'true',
          'rbac.authorization.k8s.io/aggregate-to-edit': 'true',
          'rbac.authorization.k8s.io/aggregate-to-view': 'true',
        },
      },
      rules: [{ apiGroups: [metricsGroup], resources: ['pods', 'nodes'], verbs: ['get', 'list', 'watch'] }],
    }),
  ];
  if (!scrapes) return reading;
  return [
    ...reading,
    {
      path: '/api/v1/namespaces/kube-system/serviceaccounts',
      object: {
        apiVersion: 'v1',
        kind: 'ServiceAccount',
        metadata: { name: 'metrics-server', namespace: 'kube-system', labels },
      },
    },
    role({
      metadata: { name: 'system:metrics-server', labels },
      rules: [
        { apiGroups: [''], resources: ['nodes/metrics'], verbs: ['get'] },
        { apiGroups: [''], resources: ['pods', 'nodes'], verbs: ['get', 'list', 'watch'] },
      ],
    }),
    {
      path: `/apis/${rbac}/v1/clusterrolebindings`,
      object: {
        apiVersion: `${rbac}/v1`,
        kind: 'ClusterRoleBinding',
        metadata: { name: 'system:metrics-server', labels },
        roleRef: { apiGroup: rbac, kind: 'ClusterRole', name: 'system:metrics-server' },
        subjects: [{ kind: 'ServiceAccount', name: 'metrics-server', namespace: 'kube-system' }],
      } as KubeObject,
    },
  ];
}

/** Takes away the APIService of an earlier start with a metrics server, unless it leads to another one. */
export async function withdrawMetrics(client: TypedClient): Promise<void> {
  try {
    const { body } = await client.raw('GET', `${apiServices}/${name}`);
    const service = body as { readonly spec?: { readonly service?: object } };
    if (service.spec?.service === undefined) await client.raw('DELETE', `${apiServices}/${name}`);
  } catch (error) {
    if (!isNotFound(error)) throw error;
  }
}
