/** Quotas, limit ranges, Service addresses and ports, and namespaces that end. */
import { configMap, core, forbidden, invalid, patch, pod, post, put, service, wrongValue } from './case.ts';
import type { Case, Send } from './case.ts';

const namespace = (name: string): Send => post('/api/v1/namespaces', { metadata: { name } });
const inside = (name: string): string => `/api/v1/namespaces/${name}`;
const account = (name: string): Send => post(`${inside(name)}/serviceaccounts`, { metadata: { name: 'own' } });
const plain = (name: string, spec: Record<string, unknown> = {}, container: Record<string, unknown> = {}) =>
  pod(name, { serviceAccountName: 'own', nodeSelector: { no: 'where' }, ...spec }, container);
const quota = (ns: string, hard: Record<string, string>, used: Record<string, string>): readonly Send[] => [
  namespace(ns),
  account(ns),
  post(`${inside(ns)}/resourcequotas`, { metadata: { name: 'q' }, spec: { hard } }),
  patch('merge', `${inside(ns)}/resourcequotas/q/status`, { status: { hard, used } }),
];
const limits = (ns: string, ...items: readonly Record<string, unknown>[]): readonly Send[] => [
  namespace(ns),
  account(ns),
  post(`${inside(ns)}/limitranges`, { metadata: { name: 'l' }, spec: { limits: items } }),
];

export const policies: readonly Case[] = [
  {
    name: 'a pod beyond the quota',
    given: quota('quota-pods', { pods: '0' }, { pods: '0' }),
    send: post(`${inside('quota-pods')}/pods`, plain('x')),
    expect: forbidden('pods', 'x', 'exceeded quota: q, requested: pods=1, used: pods=0, limited: pods=0'),
  },
  {
    name: 'CPU beyond the quota',
    given: quota('quota-cpu', { 'requests.cpu': '1' }, { 'requests.cpu': '0' }),
    send: post(`${inside('quota-cpu')}/pods`, plain('x', {}, { resources: { requests: { cpu: '1500m' } } })),
    expect: forbidden(
      'pods',
      'x',
      'exceeded quota: q, requested: requests.cpu=1500m, used: requests.cpu=0, limited: requests.cpu=1',
    ),
  },
  {
    name: 'a quota of CPU and a pod that asks for none',
    given: quota('quota-none', { 'limits.cpu': '1' }, { 'limits.cpu': '0' }),
    send: post(`${inside('quota-none')}/pods`, plain('x')),
    expect: forbidden('pods', 'x', 'failed quota: q: must specify limits.cpu for: c'),
  },
  {
    name: 'a kind beyond its count',
    given: quota('quota-count', { 'count/secrets': '0' }, { 'count/secrets': '0' }),
    send: post(`${inside('quota-count')}/secrets`, { metadata: { name: 'x' } }),
    expect: forbidden(
      'secrets',
      'x',
      'exceeded quota: q, requested: count/secrets=1, used: count/secrets=0, limited: count/secrets=0',
    ),
  },
  {
    name: 'a limit above the maximum',
    given: limits('limit-max', { type: 'Container', max: { cpu: '500m' } }),
    send: post(`${inside('limit-max')}/pods`, plain('x', {}, { resources: { limits: { cpu: '1' } } })),
    expect: forbidden('pods', 'x', 'maximum cpu usage per Container is 500m, but limit is 1'),
  },
  {
    name: 'a request below the minimum',
    given: limits('limit-min', { type: 'Container', min: { memory: '64Mi' } }),
    send: post(
      `${inside('limit-min')}/pods`,
      plain('x', {}, { resources: { requests: { memory: '1Mi' }, limits: { memory: '128Mi' } } }),
    ),
    expect: forbidden('pods', 'x', 'minimum memory usage per Container is 64Mi, but request is 1Mi'),
  },
  {
    name: 'a limit too far above the request',
    given: limits('limit-ratio', { type: 'Container', maxLimitRequestRatio: { cpu: '2' } }),
    send: post(
      `${inside('limit-ratio')}/pods`,
      plain('x', {}, { resources: { requests: { cpu: '1' }, limits: { cpu: '3' } } }),
    ),
    expect: forbidden('pods', 'x', 'cpu max limit to request ratio per Container is 2, but provided ratio is 3.000000'),
  },
  {
    name: 'a claim above the maximum',
    given: limits('limit-claim', { type: 'PersistentVolumeClaim', max: { storage: '1Gi' } }),
    send: post(`${inside('limit-claim')}/persistentvolumeclaims`, {
      metadata: { name: 'x' },
      spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '2Gi' } } },
    }),
    expect: forbidden(
      'persistentvolumeclaims',
      'x',
      'maximum storage usage per PersistentVolumeClaim is 1Gi, but request is 2Gi',
    ),
  },
  {
    name: 'a cluster IP that is taken',
    given: [post(`${core}/services`, service('first-ip', { clusterIP: '10.96.88.1' }))],
    send: post(`${core}/services`, service('second-ip', { clusterIP: '10.96.88.1' })),
    expect: invalid(
      'Service',
      'second-ip',
      wrongValue(
        'spec.clusterIPs',
        '["10.96.88.1"]',
        'failed to allocate IP 10.96.88.1: provided IP is already allocated',
      ),
    ),
  },
  {
    name: 'a cluster IP out of range',
    send: post(`${core}/services`, service('far-ip', { clusterIP: '192.168.1.1' })),
    expect: invalid(
      'Service',
      'far-ip',
      wrongValue(
        'spec.clusterIPs',
        '["192.168.1.1"]',
        'failed to allocate IP 192.168.1.1: the provided network does not match the current range',
      ),
    ),
  },
  {
    name: 'a cluster IP that is none',
    send: post(`${core}/services`, service('odd-ip', { clusterIP: '10.96.0' })),
    expect: invalid(
      'Service',
      'odd-ip',
      wrongValue('spec.clusterIPs[0]', '"10.96.0"', 'must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)'),
    ),
  },
  {
    name: 'a node port that is taken',
    given: [
      post(`${core}/services`, service('first-port', { type: 'NodePort', ports: [{ port: 80, nodePort: 31_111 }] })),
    ],
    send: post(
      `${core}/services`,
      service('second-port', { type: 'NodePort', ports: [{ port: 80, nodePort: 31_111 }] }),
    ),
    expect: invalid(
      'Service',
      'second-port',
      wrongValue('spec.ports[0].nodePort', '31111', 'provided port is already allocated'),
    ),
  },
  {
    name: 'a node port out of range',
    send: post(`${core}/services`, service('far-port', { type: 'NodePort', ports: [{ port: 80, nodePort: 80 }] })),
    expect: invalid(
      'Service',
      'far-port',
      wrongValue(
        'spec.ports[0].nodePort',
        '80',
        'provided port is not in the valid range. The range of valid ports is 30000-32767',
      ),
    ),
  },
  {
    name: 'a node port of an inner service',
    send: post(`${core}/services`, service('inner-port', { ports: [{ port: 80, nodePort: 31_112 }] })),
    expect: invalid('Service', 'inner-port', [
      'FieldValueForbidden',
      "Forbidden: may not be used when `type` is 'ClusterIP'",
      'spec.ports[0].nodePort',
    ]),
  },
  {
    name: 'something new in a namespace that ends',
    given: [
      namespace('ending'),
      post(`${inside('ending')}/configmaps`, { metadata: { name: 'keeps', finalizers: ['example.com/keep'] } }),
      { method: 'DELETE', path: inside('ending') },
    ],
    send: post(`${inside('ending')}/configmaps`, configMap('late')),
    expect: {
      code: 403,
      reason: 'Forbidden',
      message:
        'configmaps "late" is forbidden: unable to create new content in namespace ending because it is being terminated',
      details: {
        name: 'late',
        kind: 'configmaps',
        causes: [
          {
            reason: 'NamespaceTerminating',
            message: 'namespace ending is being terminated',
            field: 'metadata.namespace',
          },
        ],
      },
    },
  },
  {
    name: 'the end of the default namespace',
    send: { method: 'DELETE', path: '/api/v1/namespaces/default' },
    expect: forbidden('namespaces', 'default', 'this namespace may not be deleted'),
  },
  {
    name: 'the end of kube-system',
    send: { method: 'DELETE', path: '/api/v1/namespaces/kube-system' },
    expect: forbidden('namespaces', 'kube-system', 'this namespace may not be deleted'),
  },
  {
    name: 'finalizing an empty namespace that lives',
    given: [namespace('alive')],
    send: put(`${inside('alive')}/finalize`, { metadata: { name: 'alive' }, spec: { finalizers: ['nonsense'] } }),
    expect: invalid(
      'Namespace',
      'alive',
      wrongValue(
        'spec.finalizers[0]',
        '"nonsense"',
        'name is neither a standard finalizer name nor is it fully qualified',
      ),
    ),
  },
];
