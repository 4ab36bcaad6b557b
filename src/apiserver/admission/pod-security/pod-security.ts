/**
 * PodSecurity: pods that break the level which their namespace enforces are refused; what breaks the levels it warns of or
 * audits is told, for the templates of workloads, too, and for the pods that are there when a namespace gets stricter.
 */
import { formatFieldError, invalidStatus } from '../../../api/field-error.ts';
import type { ObjectMeta } from '../../../api/object.ts';
import type { Container, Namespace, Pod, PodSpec, PodTemplateSpec } from '../../../api/types/core-v1.gen.ts';
import { ioNow } from '../../../base/io-time.ts';
import { forbidden, internalError } from '../../../api/status.ts';
import type { AdmissionAttributes, AdmissionPlugin } from '../../context.ts';
import type { Registries } from '../../registry.ts';
import { cachedObjects, metadataOf } from '../attributes.ts';
import { Namespaces } from '../namespaces.ts';
import type { Violation } from './check.ts';
import { readPodSecurityConfiguration, type PodSecurityConfiguration } from './configuration.ts';
import { detailsText, evaluatePod, reasonsText } from './evaluate.ts';
import type { PodSecurityMetrics } from './metrics.ts';
import {
  compareLevels,
  equivalentPolicies,
  isFullyPrivileged,
  labelPrefix,
  levelText,
  policyOf,
  sameLevelVersion,
} from './policy.ts';
import type { Labels, LevelVersion, NamespacePolicy, Policy } from './policy.ts';

type Json = Record<string, unknown>;

/** Pods that are looked at when a namespace changes, and how long (real milliseconds). */
const maxPodsToCheck = 3000;
const maxCheckMs = 1000;

const templates: Readonly<Record<string, (spec: Json) => PodTemplateSpec | undefined>> = {
  '/replicationcontrollers': (o) => specOf(o)['template'] as PodTemplateSpec | undefined,
  '/podtemplates': (o) => o['template'] as PodTemplateSpec | undefined,
  'apps/replicasets': (o) => specOf(o)['template'] as PodTemplateSpec | undefined,
  'apps/deployments': (o) => specOf(o)['template'] as PodTemplateSpec | undefined,
  'apps/statefulsets': (o) => specOf(o)['template'] as PodTemplateSpec | undefined,
  'apps/daemonsets': (o) => specOf(o)['template'] as PodTemplateSpec | undefined,
  'batch/jobs': (o) => specOf(o)['template'] as PodTemplateSpec | undefined,
  'batch/cronjobs': (o) => specOf((specOf(o)['jobTemplate'] ?? {}) as Json)['template'] as PodTemplateSpec | undefined,
};

function specOf(object: Json): Json {
  return (object['spec'] ?? {}) as Json;
}

const ignoredSubresources: ReadonlySet<string> = new Set([
  'exec',
  'attach',
  'binding',
  'eviction',
  'log',
  'portforward',
  'proxy',
  'status',
]);

/** An update that could make a pod break the rules: another image, another container. */
function isSignificant(pod: PodSpec, old: PodSpec): boolean {
  const differ = (a: readonly Container[] = [], b: readonly Container[] = []): boolean =>
    a.length !== b.length || a.some((c, i) => c.image !== b[i]!.image);
  if (differ(pod.containers, old.containers) || differ(pod.initContainers, old.initContainers)) return true;
  return (pod.ephemeralContainers ?? []).some((c) => {
    const before = (old.ephemeralContainers ?? []).find((o) => o.name === c.name);
    return before === undefined || before.image !== c.image;
  });
}

export interface PodSecurityDeps {
  readonly registries: Registries;
  readonly metrics: PodSecurityMetrics;
  readonly configuration?: PodSecurityConfiguration | undefined;
}

export function podSecurity(deps: PodSecurityDeps): AdmissionPlugin {
  const { registries, metrics } = deps;
  const settings = readPodSecurityConfiguration(deps.configuration);
  const namespaces = new Namespaces(registries);
  const annotate = (a: AdmissionAttributes, key: string, value: string): void =>
    a.context.annotate(`${labelPrefix}${key}`, value);

  /** Why nobody looks at this pod at all. */
  const exempt = (a: AdmissionAttributes): boolean => {
    const why = settings.namespaces.has(a.namespace)
      ? 'namespace'
      : settings.usernames.has(a.user.name)
        ? 'user'
        : undefined;
    if (why === undefined) return false;
    metrics.exempted(a);
    annotate(a, 'exempt', why);
    return true;
  };

  const exemptClass = (spec: PodSpec): boolean => settings.runtimeClasses.has(spec.runtimeClassName ?? '');

  const evaluate = (
    a: AdmissionAttributes,
    { policy, errors }: NamespacePolicy,
    spec: PodSpec,
    metadata: ObjectMeta | undefined,
    enforce: boolean,
  ): void => {
    if (exemptClass(spec)) {
      metrics.exempted(a);
      annotate(a, 'exempt', 'runtimeClass');
      return;
    }
    if (errors.length > 0) {
      const text = errors.map(formatFieldError);
      annotate(a, 'error', `Failed to parse policy: ${text.length === 1 ? text[0]! : `[${text.join(', ')}]`}`);
      metrics.failed(a, false);
    }
    const known: { at: LevelVersion; violations: readonly Violation[] }[] = [];
    const violationsOf = (at: LevelVersion): readonly Violation[] => {
      const before = known.find((k) => sameLevelVersion(k.at, at));
      if (before !== undefined) return before.violations;
      const violations = evaluatePod(at, spec, metadata);
      known.push({ at, violations });
      return violations;
    };
    let refused: readonly Violation[] = [];
    if (enforce) {
      annotate(a, 'enforce-policy', levelText(policy.enforce));
      refused = violationsOf(policy.enforce);
      metrics.evaluated(a, refused.length === 0 ? 'allow' : 'deny', policy.enforce, 'enforce');
    }
    const audited = violationsOf(policy.audit);
    if (audited.length > 0) {
      annotate(
        a,
        'audit-violations',
        `would violate PodSecurity ${JSON.stringify(levelText(policy.audit))}: ${detailsText(audited)}`,
      );
      metrics.evaluated(a, 'deny', policy.audit, 'audit');
    }
    if (refused.length > 0)
      throw forbidden(
        { group: a.group, resource: a.resource },
        a.name,
        `violates PodSecurity ${JSON.stringify(levelText(policy.enforce))}: ${detailsText(refused)}`,
      );
    const warned = violationsOf(policy.warn);
    if (warned.length === 0) return;
    a.context.warn(`would violate PodSecurity ${JSON.stringify(levelText(policy.warn))}: ${detailsText(warned)}`);
    metrics.evaluated(a, 'deny', policy.warn, 'warn');
  };

  const validatePod = (a: AdmissionAttributes, namespace: Namespace): void => {
    const found = policyOf(namespace.metadata?.labels, settings.defaults);
    if (found.errors.length === 0 && isFullyPrivileged(found.policy)) {
      annotate(a, 'enforce-policy', 'privileged:latest');
      metrics.evaluated(a, 'allow', found.policy.enforce, 'enforce');
      return;
    }
    const spec = specOf(a.object ?? {}) as unknown as PodSpec;
    if (a.operation === 'UPDATE' && !isSignificant(spec, specOf(a.oldObject ?? {}) as unknown as PodSpec)) return;
    evaluate(a, found, spec, metadataOf(a.object), true);
  };

  const validateWorkload = (a: AdmissionAttributes, namespace: Namespace): void => {
    const found = policyOf(namespace.metadata?.labels, settings.defaults);
    const { warn, audit } = found.policy;
    if (found.errors.length === 0 && warn.level === 'privileged' && audit.level === 'privileged') return;
    const template = templates[`${a.group}/${a.resource}`]!(a.object ?? {});
    if (template === undefined) return;
    const spec = (template.spec ?? {}) as PodSpec;
    evaluate(a, found, spec, template.metadata as ObjectMeta | undefined, false);
  };

  /** Pods without a controller and one of each first, then the others. */
  const prioritized = (namespace: string): Pod[] => {
    const first: Pod[] = [];
    const others: Pod[] = [];
    const seen = new Set<string>();
    for (const pod of cachedObjects<Pod>(registries, '', 'pods', namespace)) {
      if (exemptClass(pod.spec!)) continue;
      const controller = pod.metadata?.ownerReferences?.find((o) => o.controller === true)?.uid;
      if (controller !== undefined && seen.has(controller)) others.push(pod);
      else {
        if (controller !== undefined) seen.add(controller);
        first.push(pod);
      }
    }
    return [...first, ...others];
  };

  const warnOfPods = (a: AdmissionAttributes, namespace: string, enforce: LevelVersion): void => {
    const all = prioritized(namespace);
    const pods = all.slice(0, maxPodsToCheck);
    const began = ioNow();
    const counts = new Map<string, { name: string; count: number }>();
    let checked = 0;
    for (const pod of pods) {
      checked++;
      const violations = evaluatePod(enforce, pod.spec!, pod.metadata);
      if (violations.length > 0) {
        const text = reasonsText(violations);
        const name = pod.metadata?.name ?? '';
        const known = counts.get(text);
        if (known === undefined) counts.set(text, { name, count: 1 });
        else {
          known.count++;
          if (name < known.name) known.name = name;
        }
      }
      if (ioNow() - began > maxCheckMs) break;
    }
    if (checked < all.length)
      a.context.warn(
        `new PodSecurity enforce level only checked against the first ${checked} of ${all.length} existing pods`,
      );
    if (counts.size === 0) return;
    a.context.warn(
      `existing pods in namespace ${JSON.stringify(namespace)} violate the new PodSecurity enforce level ${JSON.stringify(levelText(enforce))}`,
    );
    const lines = [...counts].map(([text, { name, count }]) => {
      const others = count === 1 ? '' : count === 2 ? ' (and 1 other pod)' : ` (and ${count - 1} other pods)`;
      return `${name}${others}: ${text}`;
    });
    for (const line of lines.sort()) a.context.warn(line);
  };

  /** Labels that have no effect, since the namespace is exempt. */
  const warnOfExemption = (a: AdmissionAttributes, name: string, policy: Policy, labels: Labels): void => {
    if (isFullyPrivileged(policy) || equivalentPolicies(policy, settings.defaults)) return;
    const set = (['enforce', 'audit', 'warn'] as const).flatMap((mode) => {
      const labelled =
        labels?.[`${labelPrefix}${mode}`] !== undefined || labels?.[`${labelPrefix}${mode}-version`] !== undefined;
      return policy[mode].level !== 'privileged' && labelled ? [`${mode}=${levelText(policy[mode])}`] : [];
    });
    a.context.warn(
      `namespace ${JSON.stringify(name)} is exempt from Pod Security, and the policy (${set.join(', ')}) will be ignored`,
    );
  };

  const validateNamespace = (a: AdmissionAttributes): void => {
    const { labels, name = '' } = metadataOf(a.object);
    const { policy, errors } = policyOf(labels, settings.defaults);
    const refuse = (): never => {
      throw invalidStatus(a.group, a.kind, a.name, [...errors]);
    };
    const isExempt = settings.namespaces.has(a.namespace);
    if (a.operation === 'CREATE') {
      if (errors.length > 0) refuse();
      if (isExempt) warnOfExemption(a, name, policy, labels);
      return;
    }
    const before = policyOf(metadataOf(a.oldObject).labels, settings.defaults);
    const same = JSON.stringify(errors) === JSON.stringify(before.errors);
    if (errors.length > 0 && !same) refuse();
    const { enforce } = policy;
    const old = before.policy.enforce;
    if (sameLevelVersion(enforce, old) || enforce.level === 'privileged') return;
    if (enforce.version === old.version && compareLevels(enforce.level, old.level) < 1) return;
    if (isExempt) warnOfExemption(a, name, policy, labels);
    else warnOfPods(a, name, enforce);
  };

  return {
    name: 'PodSecurity',
    handles(operation, group, resource, subresource) {
      if (operation !== 'CREATE' && operation !== 'UPDATE') return false;
      if (group === '' && resource === 'pods') return !ignoredSubresources.has(subresource);
      if (subresource !== '') return false;
      return (group === '' && resource === 'namespaces') || templates[`${group}/${resource}`] !== undefined;
    },
    validate(a) {
      if (a.resource === 'namespaces' && a.group === '') return validateNamespace(a);
      if (exempt(a)) return undefined;
      const isPod = a.group === '' && a.resource === 'pods';
      const check = isPod ? validatePod : validateWorkload;
      const failed = (error: unknown): void => {
        metrics.failed(a, true);
        const why = `failed to lookup namespace ${JSON.stringify(a.namespace)}`;
        annotate(a, 'error', `${why}: ${error instanceof Error ? error.message : String(error)}`);
        if (isPod) throw internalError(new Error(why, { cause: error }));
      };
      const namespace = namespaces.get(a.namespace);
      if (!(namespace instanceof Promise)) return check(a, namespace);
      return namespace.then((n) => check(a, n), failed);
    },
  };
}
