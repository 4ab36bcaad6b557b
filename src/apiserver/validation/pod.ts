/** Pods and pod templates: create, update, status, ephemeral containers (pkg/apis/core/validation). */
import { duplicate, forbiddenField, invalid, notFoundField, required, tooLong } from '../../api/field-error.ts';
import { semanticEqual } from '../../api/helpers/deep-equal.ts';
import { inclusiveRangeError, isDNS1123Subdomain, isSearchPath } from '../../api/names.ts';
import { validateLabels } from '../../api/selector.ts';
import type { Container, Pod, PodDNSConfig, PodSpec, PodTemplateSpec, Toleration } from '../../api/types/index.gen.ts';
import { isIP } from 'node:net';
import { internalDifference } from './difference.ts';
import { internalForm } from './internal-form.ts';
import {
  imageWhitespace,
  validateContainers,
  validateEphemeralContainers,
  validateInitContainers,
} from './pod-container.ts';
import {
  validateAffinity,
  validateSchedulingGates,
  validateTolerations,
  validateTopologySpread,
} from './pod-scheduling.ts';
import { validateHostUsers, validateOperatingSystem, validatePodSecurity } from './pod-security.ts';
import { validateVolumes } from './pod-volumes.ts';
import { containerResourceName, podResources, quantityOf, resourceQuantity } from './resources.ts';
import {
  type Errors,
  invalidEach,
  validateDnsLabel,
  validateDnsSubdomain,
  validateInRange,
  validateQualifiedName,
  validateRequiredEnum,
} from './field.ts';

const maxInt32 = 2 ** 31 - 1;
const ipMessage = 'must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)';

function ip(value: string, field: string): Errors {
  return isIP(value) === 0 ? [invalid(field, value, ipMessage)] : [];
}

function dnsConfig(config: PodDNSConfig | undefined, policy: string | undefined, field: string): Errors {
  const errors: Errors = [];
  if (policy === 'None') {
    if (config === undefined) return [required(field, 'must provide `dnsConfig` when `dnsPolicy` is None')];
    if ((config.nameservers ?? []).length === 0)
      return [required(`${field}.nameservers`, 'must provide at least one DNS nameserver when `dnsPolicy` is None')];
  }
  if (config === undefined) return errors;
  const nameservers = config.nameservers ?? [];
  const searches = config.searches ?? [];
  if (nameservers.length > 3)
    errors.push(invalid(`${field}.nameservers`, nameservers, 'must not have more than 3 nameservers'));
  nameservers.forEach((n, i) => errors.push(...ip(n, `${field}.nameservers[${i}]`)));
  if (searches.length > 32)
    errors.push(invalid(`${field}.searches`, searches, 'must not have more than 32 search paths'));
  if (searches.join(' ').length > 2048)
    errors.push(
      invalid(
        `${field}.searches`,
        searches,
        'must not have more than 2048 characters (including spaces) in the search list',
      ),
    );
  searches.forEach((s, i) => {
    if (s === '.') return;
    const name = s.replace(/\.$/, '');
    errors.push(...invalidEach(`${field}.searches[${i}]`, name, isSearchPath(name)));
  });
  (config.options ?? []).forEach((o, i) => {
    if (!o.name) errors.push(required(`${field}.options[${i}]`, 'must not be empty'));
  });
  return errors;
}

function resourceClaims(spec: PodSpec, podName: string | undefined, field: string): Errors {
  const errors: Errors = [];
  const seen = new Set<string>();
  (spec.resourceClaims ?? []).forEach((c, i) => {
    const at = `${field}[${i}]`;
    if (!c.name) errors.push(required(`${at}.name`));
    else {
      if (seen.has(c.name)) errors.push(duplicate(`${at}.name`, c.name));
      errors.push(...validateDnsLabel(c.name, `${at}.name`));
      seen.add(c.name);
    }
    if (c.resourceClaimName !== undefined && c.resourceClaimTemplateName !== undefined)
      errors.push(
        invalid(
          at,
          internalForm('core.PodResourceClaim', c),
          'at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified',
        ),
      );
    if (c.resourceClaimName === undefined && c.resourceClaimTemplateName === undefined)
      errors.push(
        invalid(
          at,
          internalForm('core.PodResourceClaim', c),
          'must specify one of: `resourceClaimName`, `resourceClaimTemplateName`',
        ),
      );
    for (const name of ['resourceClaimName', 'resourceClaimTemplateName'] as const)
      if (c[name] !== undefined) errors.push(...validateDnsSubdomain(c[name], `${at}.${name}`));
    if (c.resourceClaimTemplateName !== undefined && podName) {
      const generated = `${podName}-${c.name}`;
      const wrong = isDNS1123Subdomain(generated);
      if (wrong.length > 0)
        errors.push(
          ...invalidEach(
            `${at}.name`,
            generated,
            wrong.map((w) => `final ResourceClaim name: ${w}`),
          ),
        );
    }
  });
  return errors;
}

function fileKeyVolumes(spec: PodSpec, path: string): Errors {
  const errors: Errors = [];
  const volumes = new Map((spec.volumes ?? []).map((v) => [v.name, v]));
  for (const [name, list] of [
    ['initContainers', spec.initContainers],
    ['containers', spec.containers],
    ['ephemeralContainers', spec.ephemeralContainers],
  ] as const)
    (list ?? []).forEach((c, i) =>
      (c.env ?? []).forEach((e, j) => {
        const ref = e.valueFrom?.fileKeyRef;
        if (ref === undefined) return;
        const at = `${path}.${name}[${i}].env[${j}].valueFrom.fileKeyRef.volumeName`;
        const v = volumes.get(ref.volumeName);
        if (v === undefined) errors.push(notFoundField(at, ref.volumeName));
        else if (v.emptyDir === undefined)
          errors.push(invalid(at, ref.volumeName, 'referenced volume must be of type emptyDir'));
      }),
    );
  return errors;
}

/** A pod spec, of a pod (`isPod`) or a template. */
export function validatePodSpec(spec: PodSpec, podName: string | undefined, path: string, isPod: boolean): Errors {
  const errors: Errors = [];
  if (spec.terminationGracePeriodSeconds === undefined) errors.push(required(`${path}.terminationGracePeriodSeconds`));
  const volumes = validateVolumes(spec.volumes, podName, `${path}.volumes`);
  errors.push(...volumes.errors);
  const podClaims = new Set((spec.resourceClaims ?? []).map((c) => c.name));
  errors.push(...resourceClaims(spec, podName, `${path}.resourceClaims`));
  const ctx = { spec, volumes: volumes.byName, podClaims };
  errors.push(
    ...validateContainers(ctx, `${path}.containers`),
    ...validateInitContainers(ctx, `${path}.initContainers`),
    ...validateEphemeralContainers(ctx, `${path}.ephemeralContainers`),
    ...podResources(spec, podClaims, path),
  );
  if (spec.hostNetwork === true)
    (spec.containers ?? []).forEach((c, i) =>
      (c.ports ?? []).forEach((p, j) => {
        if ((isPod || p.hostPort) && (p.hostPort ?? 0) !== p.containerPort)
          errors.push(
            invalid(
              `${path}.containers[${i}].ports[${j}].hostPort`,
              p.hostPort ?? 0,
              'must match `containerPort` when `hostNetwork` is true',
            ),
          );
      }),
    );
  errors.push(
    ...validateRequiredEnum(spec.restartPolicy, ['Always', 'OnFailure', 'Never'], `${path}.restartPolicy`),
    ...validateRequiredEnum(
      spec.dnsPolicy,
      ['ClusterFirstWithHostNet', 'ClusterFirst', 'Default', 'None'],
      `${path}.dnsPolicy`,
    ),
    ...validateLabels(spec.nodeSelector, `${path}.nodeSelector`),
    ...validatePodSecurity(spec, path),
    ...validateAffinity(spec.affinity, `${path}.affinity`),
    ...dnsConfig(spec.dnsConfig, spec.dnsPolicy, `${path}.dnsConfig`),
  );
  (spec.readinessGates ?? []).forEach((g, i) =>
    errors.push(...validateQualifiedName(g.conditionType, `${path}.readinessGates[${i}].conditionType`)),
  );
  errors.push(
    ...validateSchedulingGates(spec.schedulingGates, `${path}.schedulingGates`),
    ...validateTopologySpread(spec.topologySpreadConstraints, `${path}.topologySpreadConstraints`),
    ...validateHostUsers(spec, path),
  );
  const override = spec.hostnameOverride;
  if (override !== undefined) {
    const at = `${path}.hostnameOverride`;
    if (spec.setHostnameAsFQDN === true)
      errors.push(forbiddenField(at, 'may not be specified when setHostnameAsFQDN is true'));
    if (spec.hostNetwork === true) errors.push(forbiddenField(at, 'may not be specified when hostNetwork is true'));
    if (override.length > 64) errors.push(tooLong(at, 64));
    errors.push(...validateDnsSubdomain(override, at));
  }
  for (const name of ['serviceAccountName', 'nodeName'] as const)
    if (spec[name]) errors.push(...validateDnsSubdomain(spec[name], `${path}.${name}`));
  errors.push(...validateInRange(spec.activeDeadlineSeconds, 1, maxInt32, `${path}.activeDeadlineSeconds`));
  for (const name of ['hostname', 'subdomain'] as const)
    if (spec[name]) errors.push(...validateDnsLabel(spec[name], `${path}.${name}`));
  errors.push(...validateTolerations(spec.tolerations, `${path}.tolerations`));
  (spec.hostAliases ?? []).forEach((a, i) => {
    errors.push(...ip(a.ip, `${path}.hostAliases[${i}].ip`));
    (a.hostnames ?? []).forEach((h, j) =>
      errors.push(...validateDnsSubdomain(h, `${path}.hostAliases[${i}].hostnames[${j}]`)),
    );
  });
  if (spec.priorityClassName) errors.push(...validateDnsSubdomain(spec.priorityClassName, `${path}.priorityClassName`));
  if (spec.runtimeClassName !== undefined)
    errors.push(...validateDnsSubdomain(spec.runtimeClassName, `${path}.runtimeClassName`));
  if (spec.preemptionPolicy !== undefined)
    errors.push(
      ...validateRequiredEnum(spec.preemptionPolicy, ['PreemptLowerPriority', 'Never'], `${path}.preemptionPolicy`),
    );
  for (const [n, text] of Object.entries(spec.overhead ?? {})) {
    const at = `${path}.overhead[${n}]`;
    errors.push(...containerResourceName(n, at), ...resourceQuantity(n, quantityOf(text), at));
  }
  errors.push(...validateOperatingSystem(spec, path), ...fileKeyVolumes(spec, path));
  return errors;
}

function podAnnotations(pod: Pod): Errors {
  const errors: Errors = [];
  const a = pod.metadata.annotations ?? {};
  const mirror = a['kubernetes.io/config.mirror'];
  if (mirror !== undefined && !pod.spec?.nodeName)
    errors.push(
      invalid(
        'metadata.annotations[kubernetes.io/config.mirror]',
        mirror,
        'must set spec.nodeName if mirror pod annotation is set',
      ),
    );
  const cost = a['controller.kubernetes.io/pod-deletion-cost'];
  if (cost !== undefined && (!/^(0|-?[1-9]\d*)$/.test(cost) || Math.abs(Number(cost)) > maxInt32))
    errors.push(
      invalid('metadata.annotations[controller.kubernetes.io/pod-deletion-cost]', cost, 'must be a 32bit integer'),
    );
  return errors;
}

/** What every pod keeps, new or changed. */
export function podRules(pod: Pod): Errors {
  const spec = pod.spec ?? ({ containers: [] } as PodSpec);
  const errors = [...podAnnotations(pod), ...validatePodSpec(spec, pod.metadata.name, 'spec', true)];
  if (!spec.serviceAccountName)
    (spec.volumes ?? []).forEach((v, i) =>
      (v.projected?.sources ?? []).forEach((s, j) => {
        if (s.serviceAccountToken !== undefined)
          errors.push(
            forbiddenField(
              `spec.volumes[${i}].projected.sources[${j}].serviceAccountToken`,
              'must not be specified when serviceAccountName is not set',
            ),
          );
      }),
    );
  (spec.containers ?? []).forEach((c, i) => errors.push(...imageWhitespace(c, `spec.containers[${i}]`)));
  (spec.initContainers ?? []).forEach((c, i) => errors.push(...imageWhitespace(c, `spec.initContainers[${i}]`)));
  return errors;
}

/** A new pod. Metadata is the registry's to judge. */
export function validatePod(pod: Pod): Errors {
  const errors = podRules(pod);
  if ((pod.spec?.ephemeralContainers ?? []).length > 0)
    errors.push(forbiddenField('spec.ephemeralContainers', 'cannot be set on create'));
  if (pod.spec?.nodeName && (pod.spec.schedulingGates ?? []).length > 0)
    errors.push(forbiddenField('spec.nodeName', 'cannot be set until all schedulingGates have been cleared'));
  return errors;
}

/** A pod template at `path`, e.g. `spec.template`. */
export function validatePodTemplate(template: PodTemplateSpec, path: string): Errors {
  const errors = validateLabels(template.metadata?.labels, `${path}.labels`);
  for (const k of Object.keys(template.metadata?.annotations ?? {}))
    errors.push(...validateQualifiedName(k.toLowerCase(), `${path}.annotations`).map((e) => ({ ...e, badValue: k })));
  const spec = template.spec ?? ({ containers: [] } as PodSpec);
  errors.push(...validatePodSpec(spec, undefined, `${path}.spec`, false));
  if ((spec.ephemeralContainers ?? []).length > 0)
    errors.push(forbiddenField(`${path}.spec.ephemeralContainers`, 'ephemeral containers not allowed in pod template'));
  return errors;
}

function containerUpdates(
  now: readonly Container[] | undefined,
  old: readonly Container[] | undefined,
  field: string,
): { errors: Errors; stop: boolean } {
  const list = now ?? [];
  if (list.length !== (old ?? []).length)
    return { errors: [forbiddenField(field, 'pod updates may not add or remove containers')], stop: true };
  const errors: Errors = [];
  list.forEach((c, i) => {
    if (!c.image) errors.push(required(`${field}[${i}].image`));
    errors.push(...imageWhitespace(c, `${field}[${i}]`));
  });
  return { errors, stop: false };
}

function onlyAddedTolerations(
  now: readonly Toleration[] | undefined,
  old: readonly Toleration[] | undefined,
  field: string,
): Errors {
  const same = (a: Toleration, b: Toleration): boolean =>
    semanticEqual({ ...a, tolerationSeconds: undefined }, { ...b, tolerationSeconds: undefined });
  if ((old ?? []).some((o) => !(now ?? []).some((n) => same(n, o))))
    return [forbiddenField(field, 'existing toleration can not be modified except its tolerationSeconds')];
  return validateTolerations(now, field);
}

const updatable =
  '`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)';

function gatedNodeSelector(now: PodSpec, old: PodSpec): Errors {
  const errors: Errors = [];
  const before = Object.entries(old.nodeSelector ?? {});
  if (before.some(([k, v]) => now.nodeSelector?.[k] !== v))
    errors.push(
      invalid(
        'spec.nodeSelector',
        internalForm('{}s', now.nodeSelector),
        'only additions are allowed (no mutations or deletions)',
      ),
    );
  return errors;
}

function gatedNodeAffinity(now: PodSpec, old: PodSpec): Errors {
  const path = 'spec.affinity.nodeAffinity';
  const was = old.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution;
  const is = now.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution;
  if (was === undefined) return [];
  const at = `${path}.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms`;
  const a = was.nodeSelectorTerms ?? [];
  const b = is?.nodeSelectorTerms ?? [];
  if (a.length > 0 && a.length !== b.length)
    return [
      invalid(
        at,
        internalForm('[]core.NodeSelectorTerm', is?.nodeSelectorTerms),
        'no additions/deletions to non-empty NodeSelectorTerms list are allowed',
      ),
    ];
  const errors: Errors = [];
  a.forEach((t, i) => {
    const wasEmpty = (t.matchExpressions ?? []).length === 0 && (t.matchFields ?? []).length === 0;
    const grows = (x: readonly unknown[] | undefined, y: readonly unknown[] | undefined): boolean =>
      (x ?? []).every((r, j) => semanticEqual(r, (y ?? [])[j]));
    if (
      (wasEmpty && !semanticEqual(t, b[i])) ||
      !grows(t.matchExpressions, b[i]?.matchExpressions) ||
      !grows(t.matchFields, b[i]?.matchFields)
    )
      errors.push(invalid(`${at}[${i}]`, b[i] ?? null, 'only additions are allowed (no mutations or deletions)'));
  });
  return errors;
}

export function validatePodUpdate(pod: Pod, old: Pod): Errors {
  const errors = podRules(pod);
  const spec = pod.spec!;
  const was = old.spec!;
  const before = old.metadata.annotations ?? {};
  const after = pod.metadata.annotations ?? {};
  const mirror = 'kubernetes.io/config.mirror';
  if (before[mirror] !== after[mirror])
    errors.push(
      forbiddenField(
        `metadata.annotations[${mirror}]`,
        before[mirror] === undefined
          ? 'may not add mirror pod annotation'
          : 'may not remove or update mirror pod annotation',
      ),
    );
  for (const name of ['containers', 'initContainers'] as const) {
    const r = containerUpdates(spec[name], was[name], `spec.${name}`);
    errors.push(...r.errors);
    if (r.stop) return errors;
  }
  const deadline = spec.activeDeadlineSeconds;
  const oldDeadline = was.activeDeadlineSeconds;
  if (deadline !== undefined) {
    if (deadline < 0 || deadline > maxInt32)
      return [...errors, invalid('spec.activeDeadlineSeconds', deadline, inclusiveRangeError(0, maxInt32))];
    if (oldDeadline !== undefined && oldDeadline < deadline)
      return [
        ...errors,
        invalid('spec.activeDeadlineSeconds', deadline, 'must be less than or equal to previous value'),
      ];
  } else if (oldDeadline !== undefined)
    errors.push(invalid('spec.activeDeadlineSeconds', null, 'must not update from a positive integer to nil value'));
  errors.push(...onlyAddedTolerations(spec.tolerations, was.tolerations, 'spec.tolerations'));
  const oldGates = new Set((was.schedulingGates ?? []).map((g) => g.name));
  (spec.schedulingGates ?? []).forEach((g, i) => {
    if (!oldGates.has(g.name))
      errors.push(
        forbiddenField(
          `spec.schedulingGates[${i}].name`,
          `only deletion is allowed, but found new scheduling gate '${g.name}'`,
        ),
      );
  });
  if (semanticEqual(spec, was)) return errors;
  const munged: PodSpec = {
    ...spec,
    containers: spec.containers.map((c, i) => ({ ...c, image: was.containers[i]!.image })),
    ...(spec.initContainers === undefined || spec.initContainers.length === 0
      ? { initContainers: undefined }
      : { initContainers: spec.initContainers.map((c, i) => ({ ...c, image: was.initContainers![i]!.image })) }),
    activeDeadlineSeconds: oldDeadline,
    schedulingGates: was.schedulingGates,
    tolerations: was.tolerations,
  };
  if ((was.terminationGracePeriodSeconds ?? 0) < 0 && spec.terminationGracePeriodSeconds === 1)
    munged.terminationGracePeriodSeconds = was.terminationGracePeriodSeconds;
  if ((was.schedulingGates ?? []).length > 0) {
    if (!semanticEqual(spec.nodeSelector, was.nodeSelector)) {
      errors.push(...gatedNodeSelector(spec, was));
      munged.nodeSelector = was.nodeSelector;
    }
    if (!semanticEqual(spec.affinity?.nodeAffinity, was.affinity?.nodeAffinity)) {
      errors.push(...gatedNodeAffinity(spec, was));
      const { nodeAffinity: _, ...others } = munged.affinity ?? {};
      const affinity =
        was.affinity?.nodeAffinity === undefined ? others : { ...others, nodeAffinity: was.affinity.nodeAffinity };
      munged.affinity = Object.keys(affinity).length === 0 && was.affinity === undefined ? undefined : affinity;
    }
  }
  if (!semanticEqual(munged, was))
    errors.push(
      forbiddenField(
        'spec',
        `pod updates may not change fields other than ${updatable}\n${internalDifference('core.PodSpec', was, munged)}`,
      ),
    );
  return errors;
}

/** Ephemeral containers can be added, never changed or removed (KEP-277). */
export function validateEphemeralContainersUpdate(pod: Pod, old: Pod): Errors {
  const field = 'spec.ephemeralContainers';
  const errors = podRules(pod);
  const now = new Map((pod.spec?.ephemeralContainers ?? []).map((c) => [c.name, c]));
  for (const o of old.spec?.ephemeralContainers ?? []) {
    const n = now.get(o.name);
    if (n === undefined)
      errors.push(forbiddenField(field, `existing ephemeral containers "${o.name}" may not be removed\n`));
    else if (!semanticEqual(n, o))
      errors.push(forbiddenField(field, `existing ephemeral containers "${o.name}" may not be changed\n`));
  }
  return errors;
}
