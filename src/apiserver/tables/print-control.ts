/** Rows of the kinds that govern the API itself: admission, RBAC, certificates, leases, flow control, API services. */
import { humanDuration } from '../../api/time.ts';
import type { KubeObjectLike } from '../request.ts';
import { age, labels, orNone, orUnset, selectorText, shortList } from './cells.ts';
import type { Cell, PrintContext, Printer } from './table.ts';
import { has, list, nameOf, num, obj, str } from './value.ts';

function paramKind(o: KubeObjectLike): string {
  if (!has(o, 'spec', 'paramKind')) return '<unset>';
  return `${str(o, 'spec', 'paramKind', 'apiVersion')}/${str(o, 'spec', 'paramKind', 'kind')}`;
}

function paramRef(o: KubeObjectLike): string {
  if (!has(o, 'spec', 'paramRef')) return '<unset>';
  const ref = obj(o, 'spec', 'paramRef');
  const name = str(ref, 'name');
  if (name !== '') return `${str(ref, 'namespace') || '*'}/${name}`;
  return has(ref, 'selector') ? selectorText(ref['selector']) : '<unset>';
}

function printBinding(o: KubeObjectLike, context: PrintContext): readonly Cell[] {
  const of = (kind: string): readonly string[] =>
    list(o, 'subjects')
      .filter((s) => s['kind'] === kind)
      .map((s) => (kind === 'ServiceAccount' ? `${str(s, 'namespace')}/${str(s, 'name')}` : str(s, 'name')));
  return [
    nameOf(o),
    `${str(o, 'roleRef', 'kind')}/${str(o, 'roleRef', 'name')}`,
    age(o, context),
    of('User').join(', '),
    of('Group').join(', '),
    of('ServiceAccount').join(', '),
  ];
}

function csrStatus(o: KubeObjectLike): string {
  const types = new Set(list(o, 'status', 'conditions').map((c) => c['type']));
  let status = types.has('Denied') ? 'Denied' : types.has('Approved') ? 'Approved' : 'Pending';
  if (types.has('Failed')) status += ',Failed';
  if (str(o, 'status', 'certificate') !== '') status += ',Issued';
  return status;
}

function printCertificateSigningRequest(o: KubeObjectLike, context: PrintContext): readonly Cell[] {
  return [
    nameOf(o),
    age(o, context),
    orNone(str(o, 'spec', 'signerName')),
    str(o, 'spec', 'username'),
    has(o, 'spec', 'expirationSeconds') ? humanDuration(num(o, 'spec', 'expirationSeconds') * 1000) : '<none>',
    csrStatus(o),
  ];
}

function printPodCertificateRequest(o: KubeObjectLike): readonly Cell[] {
  let state = 'Pending';
  for (const c of list(o, 'status', 'conditions'))
    if (['Issued', 'Denied', 'Failed'].includes(String(c['type']))) state = String(c['type']);
  return [
    nameOf(o),
    str(o, 'spec', 'podName'),
    str(o, 'spec', 'serviceAccountName'),
    str(o, 'spec', 'nodeName'),
    str(o, 'spec', 'signerName'),
    state,
    labels(obj(o, 'spec', 'unverifiedUserAnnotations')),
  ];
}

function printPriorityLevel(o: KubeObjectLike, context: PrintContext): readonly Cell[] {
  const limited = obj(o, 'spec', 'limited');
  const queuing = obj(limited, 'limitResponse', 'queuing');
  const cell = (from: unknown, member: string, present: boolean): Cell => (present ? num(from, member) : '<none>');
  const queues = has(limited, 'limitResponse', 'queuing');
  return [
    nameOf(o),
    str(o, 'spec', 'type'),
    cell(limited, 'nominalConcurrencyShares', has(o, 'spec', 'limited')),
    cell(queuing, 'queues', queues),
    cell(queuing, 'handSize', queues),
    cell(queuing, 'queueLengthLimit', queues),
    age(o, context),
  ];
}

function printApiService(o: KubeObjectLike, context: PrintContext): readonly Cell[] {
  const service = has(o, 'spec', 'service')
    ? `${str(o, 'spec', 'service', 'namespace')}/${str(o, 'spec', 'service', 'name')}`
    : 'Local';
  const available = list(o, 'status', 'conditions').find((c) => c['type'] === 'Available');
  let status = 'Unknown';
  if (available !== undefined) {
    const reason = str(available, 'reason');
    status = str(available, 'status');
    if (status !== 'True' && reason !== '') status = `${status} (${reason})`;
  }
  return [nameOf(o), service, status, age(o, context)];
}

function printMigration(o: KubeObjectLike): readonly Cell[] {
  const group = str(o, 'spec', 'resource', 'group');
  const resource = str(o, 'spec', 'resource', 'resource');
  let status = 'Unknown';
  for (const c of list(o, 'status', 'conditions'))
    if (c['status'] === 'True' && ['Running', 'Failed', 'Succeeded'].includes(String(c['type'])))
      status = String(c['type']);
  return [nameOf(o), group === '' ? resource : `${resource}.${group}`, status];
}

const counted =
  (member: (o: KubeObjectLike) => number, kind: (o: KubeObjectLike) => string): Printer =>
  (o, c) => [nameOf(o), member(o), kind(o), age(o, c)];

export const controlPrinters: Readonly<Record<string, Printer>> = {
  'admissionregistration.k8s.io/MutatingAdmissionPolicy': counted(
    (o) => list(o, 'spec', 'mutations').length,
    paramKind,
  ),
  'admissionregistration.k8s.io/MutatingAdmissionPolicyBinding': (o, c) => [
    nameOf(o),
    str(o, 'spec', 'policyName'),
    paramRef(o),
    age(o, c),
  ],
  'admissionregistration.k8s.io/MutatingWebhookConfiguration': (o, c) => [
    nameOf(o),
    list(o, 'webhooks').length,
    age(o, c),
  ],
  'admissionregistration.k8s.io/ValidatingAdmissionPolicy': counted(
    (o) => list(o, 'spec', 'validations').length,
    paramKind,
  ),
  'admissionregistration.k8s.io/ValidatingAdmissionPolicyBinding': (o, c) => [
    nameOf(o),
    str(o, 'spec', 'policyName'),
    paramRef(o),
    age(o, c),
  ],
  'admissionregistration.k8s.io/ValidatingWebhookConfiguration': (o, c) => [
    nameOf(o),
    list(o, 'webhooks').length,
    age(o, c),
  ],
  'apiregistration.k8s.io/APIService': printApiService,
  'certificates.k8s.io/CertificateSigningRequest': printCertificateSigningRequest,
  'certificates.k8s.io/ClusterTrustBundle': (o) => [nameOf(o), orNone(str(o, 'spec', 'signerName'))],
  'certificates.k8s.io/PodCertificateRequest': printPodCertificateRequest,
  'coordination.k8s.io/Lease': (o, c) => [nameOf(o), str(o, 'spec', 'holderIdentity'), age(o, c)],
  'coordination.k8s.io/LeaseCandidate': (o, c) => [
    nameOf(o),
    str(o, 'spec', 'leaseName'),
    str(o, 'spec', 'binaryVersion'),
    str(o, 'spec', 'emulationVersion'),
    age(o, c),
  ],
  'flowcontrol.apiserver.k8s.io/FlowSchema': (o, c) => [
    nameOf(o),
    str(o, 'spec', 'priorityLevelConfiguration', 'name'),
    num(o, 'spec', 'matchingPrecedence'),
    orNone(str(o, 'spec', 'distinguisherMethod', 'type')),
    age(o, c),
    str(
      list(o, 'status', 'conditions').find((x) => x['type'] === 'Dangling'),
      'status',
    ) || '?',
  ],
  'flowcontrol.apiserver.k8s.io/PriorityLevelConfiguration': printPriorityLevel,
  'internal.apiserver.k8s.io/StorageVersion': (o, c) => [
    nameOf(o),
    orUnset(str(o, 'status', 'commonEncodingVersion')),
    shortList(list(o, 'status', 'storageVersions').map((s) => `${str(s, 'apiServerID')}=${str(s, 'encodingVersion')}`)),
    age(o, c),
  ],
  'node.k8s.io/RuntimeClass': (o, c) => [nameOf(o), str(o, 'handler'), age(o, c)],
  'rbac.authorization.k8s.io/ClusterRoleBinding': printBinding,
  'rbac.authorization.k8s.io/RoleBinding': printBinding,
  'storagemigration.k8s.io/StorageVersionMigration': printMigration,
};

/** Flow schemas are listed in the order in which they match. */
export function flowSchemaOrder(a: KubeObjectLike, b: KubeObjectLike): number {
  const byPrecedence = num(a, 'spec', 'matchingPrecedence') - num(b, 'spec', 'matchingPrecedence');
  return byPrecedence !== 0 ? byPrecedence : nameOf(a) < nameOf(b) ? -1 : 1;
}
