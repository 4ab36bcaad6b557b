/** managedFields that go from an object to its Scale and back. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ManagedFieldsEntry } from '../object.ts';
import type { FieldSet } from './field-set.ts';
import { parentManagedFields, scaleManagedFields } from './scale-fields.ts';

const entry = (manager: string, apiVersion: string, fieldsV1: unknown, more: object = {}): ManagedFieldsEntry => ({
  manager,
  operation: 'Update',
  apiVersion,
  time: '2026-01-01T00:00:00Z',
  fieldsType: 'FieldsV1',
  fieldsV1: fieldsV1 as FieldSet,
  ...more,
});
const paths = { 'apps/v1': ['spec', 'replicas'] };
const replicas = { 'f:spec': { 'f:replicas': {} } };

test('replicas change hands through the scale', () => {
  const parent = [
    entry('creator', 'apps/v1', { 'f:spec': { 'f:replicas': {}, 'f:paused': {} } }),
    entry('other', 'apps/v1', { 'f:status': {} }),
  ];
  const shown = scaleManagedFields(parent, paths);
  assert.deepEqual(shown, [entry('creator', 'autoscaling/v1', replicas)]);
  assert.equal(parentManagedFields(parent, shown, 'apps/v1', paths), parent);

  const scaler = [entry('scaler', 'autoscaling/v1', replicas, { subresource: 'scale' })];
  assert.deepEqual(parentManagedFields(parent, scaler, 'apps/v1', paths), [
    entry('creator', 'apps/v1', { 'f:spec': { 'f:paused': {} } }),
    entry('other', 'apps/v1', { 'f:status': {} }),
    entry('scaler', 'apps/v1', replicas, { subresource: 'scale' }),
  ]);
  assert.equal(scaleManagedFields([parent[1]!], paths), undefined);
});
