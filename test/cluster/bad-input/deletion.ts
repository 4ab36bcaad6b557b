/** Deletes: options, preconditions, finalizers, collections. */
import {
  badRequest,
  configMap,
  conflict,
  core,
  del,
  invalid,
  notAllowed,
  notFound,
  options,
  patch,
  post,
  unsupported,
} from './case.ts';
import type { Case, Send } from './case.ts';

const configMaps = `${core}/configmaps`;
const made = (name: string): Send => post(configMaps, configMap(name), { keep: 'it' });

export const deletion: readonly Case[] = [
  { name: 'what is not there', send: del(`${configMaps}/absent`), expect: notFound('configmaps', 'absent') },
  {
    name: 'what is not there, in a namespace that there is not',
    send: del('/api/v1/namespaces/nowhere/configmaps/absent'),
    expect: notFound('configmaps', 'absent'),
  },
  {
    name: 'a policy that there is not',
    given: [made('policied')],
    send: del(`${configMaps}/policied`, { propagationPolicy: 'Sideways' }),
    expect: options(
      'DeleteOptions',
      unsupported('propagationPolicy', '"Sideways"', 'Foreground', 'Background', 'Orphan', 'nil'),
    ),
  },
  {
    name: 'a policy and the old way',
    given: [made('twice-policied')],
    send: del(`${configMaps}/twice-policied`, { propagationPolicy: 'Orphan', orphanDependents: true }),
    expect: options('DeleteOptions', [
      'FieldValueInvalid',
      'Invalid value: "Orphan": orphanDependents and deletionPropagation cannot be both set',
      'propagationPolicy',
    ]),
  },
  {
    name: 'dry run of something else than all',
    given: [made('half-dry')],
    send: del(`${configMaps}/half-dry`, { dryRun: ['Some'] }),
    expect: options('DeleteOptions', unsupported('dryRun', '["Some"]', 'All')),
  },
  {
    name: 'a grace period that is a word',
    given: [made('graced')],
    send: del(`${configMaps}/graced`, { gracePeriodSeconds: 'soon' }),
    expect: badRequest(
      'json: cannot unmarshal string into Go struct field DeleteOptions.gracePeriodSeconds of type int64',
    ),
  },
  {
    name: 'options that are no JSON',
    given: [made('optioned')],
    send: del(`${configMaps}/optioned`, '{'),
    expect: badRequest("couldn't get version/kind; json parse error: unexpected end of JSON input"),
  },
  {
    name: 'the UID of another',
    given: [made('same-name')],
    send: del(`${configMaps}/same-name`, { preconditions: { uid: 'u-1' } }),
    expect: conflict(
      'ConfigMap',
      'same-name',
      'the UID in the precondition (u-1) does not match the UID in record ({{it.metadata.uid}}). The object might have been deleted and then recreated',
    ),
  },
  {
    name: 'a stale resource version',
    given: [made('changed')],
    send: del(`${configMaps}/changed`, { preconditions: { resourceVersion: '1' } }),
    expect: conflict(
      'ConfigMap',
      'changed',
      'the ResourceVersion in the precondition (1) does not match the ResourceVersion in record ({{it.metadata.resourceVersion}}). The object might have been modified',
    ),
  },
  {
    name: 'a finalizer more while it goes',
    given: [
      post(configMaps, { metadata: { name: 'going', finalizers: ['example.com/a'] } }),
      del(`${configMaps}/going`),
    ],
    send: patch('merge', `${configMaps}/going`, { metadata: { finalizers: ['example.com/a', 'example.com/b'] } }),
    expect: invalid(
      'ConfigMap',
      'going',
      notAllowed(
        'metadata.finalizers',
        'no new finalizers can be added if the object is being deleted, found new finalizers []string{"example.com/b"}',
      ),
      notAllowed(
        'metadata.finalizers',
        'no new finalizers can be added if the object is being deleted, found new finalizers []string{"example.com/b"}',
      ),
    ),
  },
  {
    name: 'what waits for its finalizer stays, and says so',
    given: [post(configMaps, { metadata: { name: 'held', finalizers: ['example.com/a'] } })],
    send: del(`${configMaps}/held`),
    expect: {
      code: 200,
      object: { 'metadata.finalizers': ['example.com/a'], 'metadata.deletionGracePeriodSeconds': 0 },
    },
  },
  {
    name: 'a collection by a selector that is none',
    send: del(`${configMaps}?labelSelector=${encodeURIComponent('=')}`),
    expect: badRequest("found '=', expected: !, identifier, or 'end of string'"),
  },
  {
    name: 'a collection with a policy that there is not',
    send: del(`${configMaps}?labelSelector=none%3Dsuch`, { propagationPolicy: 'Never' }),
    expect: options(
      'DeleteOptions',
      unsupported('propagationPolicy', '"Never"', 'Foreground', 'Background', 'Orphan', 'nil'),
    ),
  },
  {
    name: 'options that are a pod',
    given: [made('strictly')],
    send: del(`${configMaps}/strictly`, { apiVersion: 'v1', kind: 'Pod' }),
    expect: badRequest(
      'no kind "Pod" is registered for version "v1" in scheme "k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme/register.go:27"',
    ),
  },
];
