/** What policies leave in the audit log. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createClient } from '../../../client/typed-client.ts';
import { openEmbeddedStore } from '../../../etcd/embedded-store.ts';
import { VirtualClock } from '../../../base/clock.ts';
import { silentLogger } from '../../../base/logger.ts';
import { SeededRandom } from '../../../base/random.ts';
import type { AuditEvent } from '../../audit/event.ts';
import { AuditMetrics } from '../../audit/metrics.ts';
import { createApiServer } from '../../server.ts';

test('audit annotations of a policy, and of what it would have refused', async () => {
  const clock = new VirtualClock();
  const random = new SeededRandom(5);
  const store = await openEmbeddedStore({ engine: 'memory', clock, logger: silentLogger, random });
  const events: AuditEvent[] = [];
  const nowhere = (): Promise<never> => Promise.reject(new Error('none'));
  const server = await createApiServer({
    store,
    embedded: true,
    clock,
    random,
    logger: silentLogger,
    serviceAccountKeys: {},
    dialer: { dialNode: nowhere, dialTcp: nowhere },
    advertiseAddress: '192.0.2.1',
    audit: {
      policy: { rules: [{ level: 'Metadata' }], omitStages: ['RequestReceived'] },
      backend: { process: (all) => events.push(...all) > 0, close: () => Promise.resolve() },
      metrics: new AuditMetrics(),
    },
  });
  await server.ready();
  const client = createClient(
    server.localTransport({ name: 'admin', groups: ['system:masters', 'system:authenticated'] }),
  );
  const policies = client.admissionregistration;
  await policies.validatingadmissionpolicies.create({
    metadata: { name: 'p' },
    spec: {
      paramKind: { apiVersion: 'v1', kind: 'ConfigMap' },
      matchConstraints: {
        resourceRules: [{ apiGroups: [''], apiVersions: ['v1'], operations: ['CREATE'], resources: ['secrets'] }],
      },
      validations: [{ expression: 'true' }, { expression: 'false', message: 'never' }],
      auditAnnotations: [
        { key: 'by', valueExpression: 'string(params.metadata.name)' },
        { key: 'none', valueExpression: "object.metadata.name == 'x' ? '' : 'there'" },
      ],
    },
  });
  await policies.validatingadmissionpolicybindings.create({
    metadata: { name: 'b' },
    spec: {
      policyName: 'p',
      validationActions: ['Audit'],
      paramRef: { selector: {}, parameterNotFoundAction: 'Deny' },
    },
  });
  for (const name of ['one', 'two'])
    await client.core.configmaps.create({ metadata: { name, namespace: 'default' }, data: {} });
  await client.core.secrets.create({ metadata: { name: 'x', namespace: 'default' } });
  const { annotations = {} } = events.find((e) => e.verb === 'create' && e.objectRef?.['resource'] === 'secrets')!;
  assert.equal(annotations['p/by'], 'one, two');
  assert.equal('p/none' in annotations, false);
  assert.deepEqual(JSON.parse(annotations['validation.policy.admission.k8s.io/validation_failure']!), [
    { message: 'never', policy: 'p', binding: 'b', expressionIndex: 1, validationActions: ['Audit'] },
  ]);
  await server.close();
  await store.close();
});
