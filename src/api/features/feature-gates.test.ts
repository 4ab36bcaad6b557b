import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FeatureGateError, FeatureGates } from './feature-gates.ts';

function refused(given: Record<string, string>): string {
  try {
    void new FeatureGates(given);
  } catch (error) {
    assert.ok(error instanceof FeatureGateError);
    return error.message;
  }
  return '';
}

test('gates have the defaults of the release, and can be switched one by one or by stage', () => {
  const plain = new FeatureGates();
  assert.equal([...plain.entries()].length, 238);
  // What upstream's client, logs and metrics are told is known as well; it switches nothing here.
  assert.equal(
    new FeatureGates({ WatchListClient: 'false', ContextualLogging: 'false' }).enabled('WatchListClient'),
    false,
  );
  assert.equal(plain.enabled('CBORServingAndStorage'), false);
  assert.equal(plain.enabled('DRADeviceTaints'), true);
  assert.equal(new FeatureGates({ CBORServingAndStorage: 'true' }).enabled('CBORServingAndStorage'), true);
  assert.equal(new FeatureGates({ 'kube:CBORServingAndStorage': 'true' }).enabled('CBORServingAndStorage'), true);
  const alpha = new FeatureGates({ AllAlpha: 'true', CBORServingAndStorage: 'false' });
  assert.equal(alpha.enabled('GenericWorkload'), true);
  assert.equal(alpha.enabled('CBORServingAndStorage'), false, 'what is told of one goes before what is told of all');
});

test('what cannot be is told in upstream\u2019s words', () => {
  assert.equal(refused({ NoSuchGate: 'true' }), 'unrecognized feature gate: NoSuchGate');
  assert.equal(refused({ 'wardle:Some': 'true' }), 'component not registered: wardle');
  assert.equal(
    refused({ DRAAdminAccess: 'false' }),
    'cannot set feature gate DRAAdminAccess to false, feature is locked to true',
  );
  assert.equal(
    refused({ GangScheduling: 'true' }),
    'GangScheduling is enabled, but depends on features that are disabled: [GenericWorkload]',
  );
  assert.equal(
    refused({ CSIVolumeHealth: 'yes' }),
    'invalid value of CSIVolumeHealth=yes, err: strconv.ParseBool: parsing "yes": invalid syntax',
  );
  assert.deepEqual(new FeatureGates({ ExecProbeTimeout: 'true' }).warnings.length, 1);
});
