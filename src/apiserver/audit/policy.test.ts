import assert from 'node:assert/strict';
import { test } from 'node:test';
import { VirtualClock } from '../../base/clock.ts';
import type { AuthorizationAttributes } from '../context.ts';
import { auditFilters } from '../filters/audit.ts';
import { Scope } from '../filters/scope.ts';
import type { IncomingRequest, OutgoingResponse } from '../request.ts';
import type { AuditEvent } from './event.ts';
import { AuditMetrics } from './metrics.ts';
import { AuditRules, type AuditRule } from './policy.ts';

function attributes(given: Partial<AuthorizationAttributes>): AuthorizationAttributes {
  return {
    user: { name: 'jane', groups: ['dev', 'system:authenticated'] },
    verb: 'get',
    isResourceRequest: true,
    group: '',
    version: 'v1',
    resource: 'pods',
    subresource: '',
    namespace: 'default',
    name: '',
    path: '/api/v1/namespaces/default/pods',
    ...given,
  };
}

/** Whether a rule fits a request. */
function fits(rule: Partial<AuditRule>, given: Partial<AuthorizationAttributes>): boolean {
  return new AuditRules({ rules: [{ level: 'Metadata', ...rule }] }).decide(attributes(given)).level === 'Metadata';
}

test('a rule fits by users, groups, verbs, namespaces, resources and paths', () => {
  assert.ok(fits({}, {}));
  assert.ok(fits({ users: ['jane'], userGroups: ['ops', 'dev'], verbs: ['get'] }, {}));
  assert.ok(!fits({ users: ['joe'] }, {}));
  assert.ok(!fits({ userGroups: ['ops'] }, {}));
  assert.ok(!fits({ verbs: ['list'] }, {}));
  assert.ok(fits({ namespaces: [''] }, { namespace: '' }));
  assert.ok(!fits({ namespaces: ['default'] }, { isResourceRequest: false }));

  const exec = { subresource: 'exec', name: 'p' };
  const core = (...resources: string[]): Partial<AuditRule> => ({ resources: [{ group: '', resources }] });
  assert.ok(fits(core('pods'), {}));
  assert.ok(!fits(core('pods'), exec), 'a resource alone does not stand for its subresources');
  assert.ok(fits(core('pods/exec'), exec));
  assert.ok(fits(core('pods/*'), exec));
  assert.ok(fits(core('*/exec'), exec));
  assert.ok(fits(core('*'), exec));
  assert.ok(!fits(core('*/log'), exec));
  assert.ok(!fits({ resources: [{ group: 'apps' }] }, {}));
  assert.ok(fits({ resources: [{ group: '*', resources: ['pods'] }] }, {}));
  assert.ok(fits({ resources: [{ group: '' }] }, {}));
  assert.ok(fits({ resources: [{ group: '', resources: ['pods'], resourceNames: ['p'] }] }, { name: 'p' }));
  assert.ok(!fits({ resources: [{ group: '', resources: ['pods'], resourceNames: ['p'] }] }, { name: 'q' }));

  const path = (p: string): Partial<AuthorizationAttributes> => ({ isResourceRequest: false, path: p });
  assert.ok(fits({ nonResourceURLs: ['/healthz*'] }, path('/healthz/etcd')));
  assert.ok(fits({ nonResourceURLs: ['*'] }, path('/version')));
  assert.ok(!fits({ nonResourceURLs: ['/healthz'] }, path('/healthz/etcd')));
  assert.ok(!fits({ nonResourceURLs: ['*'] }, {}));
});

test('the first rule decides; stages add up, managed fields are overridden, nothing is told otherwise', () => {
  const rules = new AuditRules({
    omitStages: ['RequestReceived'],
    omitManagedFields: true,
    rules: [
      { level: 'None', verbs: ['watch'] },
      { level: 'Request', verbs: ['get'], omitStages: ['Panic'], omitManagedFields: false },
      { level: 'Metadata', verbs: ['get', 'list'] },
    ],
  });
  assert.equal(rules.decide(attributes({ verb: 'watch' })).level, 'None');
  const get = rules.decide(attributes({}));
  assert.deepEqual([get.level, [...get.omit], get.omitManagedFields], ['Request', ['RequestReceived', 'Panic'], false]);
  const list = rules.decide(attributes({ verb: 'list' }));
  assert.deepEqual([list.level, [...list.omit], list.omitManagedFields], ['Metadata', ['RequestReceived'], true]);
  assert.equal(rules.decide(attributes({ verb: 'create' })).level, 'None');
});

test('a handler that fails by mistake is told as a panic', async () => {
  const events: AuditEvent[] = [];
  const { filter } = auditFilters(
    {
      policy: { rules: [{ level: 'Metadata' }] },
      backend: { process: (all) => events.push(...all) > 0, close: () => Promise.resolve() },
      metrics: new AuditMetrics(),
    },
    new VirtualClock(),
    () => Promise.resolve(undefined),
  );
  const request: IncomingRequest = {
    method: 'GET',
    path: '/x',
    query: new URLSearchParams(),
    headers: {},
    body: { kind: 'none' },
    remoteAddress: '192.0.2.1',
    signal: new AbortController().signal,
    wantsObjects: false,
  };
  const handler = filter((): OutgoingResponse => {
    throw new TypeError('a defect');
  });
  await assert.rejects(async () => handler(new Scope(request, 'id', 0)), /a defect/);
  assert.deepEqual(
    events.map((e) => [e.stage, e.responseStatus?.message, e.responseStatus?.code]),
    [
      ['RequestReceived', undefined, undefined],
      ['Panic', "APIServer panic'd: a defect", 500],
    ],
  );
});
