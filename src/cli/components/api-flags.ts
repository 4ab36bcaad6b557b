/** Flags that choose APIs and features, which the whole cluster and the API server alone share. */
import type { ApiChoice } from '../../cluster/api-choice.ts';
import type { Flag } from '../flags.ts';
import type { Values } from './component.ts';

export const apiFlags: readonly Flag[] = [
  {
    name: 'runtime-config',
    kind: 'map',
    value: 'API=bool,…',
    help: 'APIs to switch on or off: group/version, group/version/resource, api/all, api/ga, api/beta, api/alpha',
  },
  {
    name: 'feature-gates',
    kind: 'map',
    value: 'Name=bool,…',
    help: "features to switch on or off, by upstream's names; also AllAlpha and AllBeta",
  },
  {
    name: 'emulated-version',
    kind: 'list',
    value: 'VERSION',
    help: 'the release to behave as: this one alone',
  },
  {
    name: 'min-compatibility-version',
    kind: 'list',
    value: 'VERSION',
    help: 'the oldest release to get along with: this one, or the one before it',
  },
];

export function apiChoice(v: Values): ApiChoice {
  return {
    runtimeConfig: v.map('runtime-config'),
    featureGates: v.map('feature-gates'),
    emulatedVersion: v.list('emulated-version'),
    minCompatibilityVersion: v.list('min-compatibility-version'),
  };
}
