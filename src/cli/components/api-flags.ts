/** Flags that choose APIs and features, which the whole cluster and the API server alone share. */
import type { ApiChoice } from '../../cluster/api-choice.ts';
import type { Flag } from '../flags.ts';
import type { Values } from './component.ts';

export const apiFlags: readonly Flag[] = [
  {
    name: 'runtime-config',
    kind: 'map',
    bareKey: 'true',
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
    help: 'the release to behave as: this one, or one of the three before it',
  },
  {
    name: 'min-compatibility-version',
    kind: 'list',
    value: 'VERSION',
    help: 'the oldest release to get along with: at most the emulated one',
  },
  {
    name: 'emulation-forward-compatible',
    kind: 'bool',
    default: false,
    help: 'with an emulated version: of APIs that are served, later versions are served as well',
  },
  {
    name: 'runtime-config-emulation-forward-compatible',
    kind: 'bool',
    default: false,
    help: 'with an emulated version: later APIs may be asked for by --runtime-config',
  },
];

export function apiChoice(v: Values): ApiChoice {
  return {
    runtimeConfig: v.map('runtime-config'),
    featureGates: v.map('feature-gates'),
    emulatedVersion: v.list('emulated-version'),
    minCompatibilityVersion: v.list('min-compatibility-version'),
    emulationForwardCompatible: v.bool('emulation-forward-compatible'),
    runtimeConfigEmulationForwardCompatible: v.bool('runtime-config-emulation-forward-compatible'),
  };
}
