/** What an update of a pod's status may say: conditions, transitions of containers, addresses, users and resources. */
import { duplicate, forbiddenField, invalid, notSupported, required, tooLong } from '../../api/field-error.ts';
import { mayRestartAll, shouldRestart } from '../../api/helpers/container-restart.ts';
import { inclusiveRangeError, isDNS1123Subdomain } from '../../api/names.ts';
import type { Container, ContainerStatus, Pod, PodSpec, PodStatus } from '../../api/types/index.gen.ts';
import { isIpv6, validateIp } from './ip.ts';
import { internalForm } from './internal-form.ts';
import { isNativeResource } from './resource-names.ts';
import { type Errors, invalidEach, validateDnsLabel, validateDnsSubdomain, validateQualifiedName } from './field.ts';

const maxInt32 = 2 ** 31 - 1;
const maxHealthMessage = 1024;
const healths = ['Healthy', 'Unhealthy', 'Unknown'];
/** Conditions whose names are the system's. */
const systemConditions = new Set(['PodScheduled', 'Ready', 'Initialized']);

type Statuses = readonly ContainerStatus[] | undefined;

function validateConditions(status: PodStatus): Errors {
  const errors: Errors = [];
  (status.conditions ?? []).forEach((c, i) => {
    const at = `status.conditions[${i}]`;
    const { observedGeneration = 0 } = c;
    if (observedGeneration < 0)
      errors.push(invalid(`${at}.observedGeneration`, observedGeneration, 'must be a non-negative integer'));
    if (!systemConditions.has(c.type)) errors.push(...validateQualifiedName(c.type ?? '', `${at}.Type`));
  });
  return errors;
}

function transitions(
  now: Statuses,
  old: Statuses,
  /** Undefined: nothing that ended starts again. */
  spec: PodSpec | undefined,
  field: string,
): Errors {
  if (spec !== undefined && mayRestartAll(spec)) return [];
  const errors: Errors = [];
  (old ?? []).forEach((o, i) => {
    const ended = o.state?.terminated;
    if (ended === undefined) return;
    const container = [...(spec?.containers ?? []), ...(spec?.initContainers ?? [])].find((c) => c.name === o.name);
    if (container !== undefined && shouldRestart(container, spec!, ended.exitCode)) return;
    if ((now ?? []).some((n) => n.name === o.name && n.state?.terminated === undefined))
      errors.push(forbiddenField(`${field}[${i}].state`, 'may not be transitioned to non-terminated state'));
  });
  return errors;
}

function claimStatuses(status: PodStatus, spec: PodSpec): Errors {
  const errors: Errors = [];
  const seen = new Set<string>();
  (status.resourceClaimStatuses ?? []).forEach((s, i) => {
    const at = `status.resourceClaimStatuses[${i}]`;
    const name = s.name ?? '';
    if (!(spec.resourceClaims ?? []).some((c) => c.name === name))
      errors.push(invalid(`${at}.name`, name, 'must match the name of an entry in `spec.resourceClaims`'));
    if (seen.has(name)) errors.push(duplicate(`${at}.name`, name));
    seen.add(name);
    const claim = s.resourceClaimName;
    if (claim !== undefined) errors.push(...invalidEach(`${at}.resourceClaimName`, claim, isDNS1123Subdomain(claim)));
  });
  return errors;
}

function extendedClaimStatus(status: PodStatus, spec: PodSpec): Errors {
  const extended = status.extendedResourceClaimStatus;
  if (extended === undefined) return [];
  const field = 'status.extendedResourceClaimStatus';
  const errors: Errors = [];
  const mappings = extended.requestMappings ?? [];
  if (mappings.length === 0)
    errors.push(required(`${field}.requestMappings`, 'at least one request mapping is required'));
  const containers = new Map([...(spec.initContainers ?? []), ...spec.containers].map((c) => [c.name, c]));
  const seen = new Set<string>();
  mappings.forEach((m, i) => {
    const at = `${field}.requestMappings[${i}]`;
    const { containerName = '', resourceName = '', requestName = '' } = m;
    const container = containers.get(containerName);
    if (container === undefined)
      errors.push(
        invalid(
          `${at}.containerName`,
          containerName,
          'must match the name of an entry in spec.initContainers.name or spec.containers.name',
        ),
      );
    else if (container.resources?.requests?.[resourceName] === undefined)
      errors.push(
        invalid(
          `${at}.resourceName`,
          resourceName,
          'must match the extended resource name of an entry in spec.initContainers.resources.requests or spec.containers.resources.requests',
        ),
      );
    errors.push(...validateDnsLabel(requestName, `${field}.requestName`));
    const key = JSON.stringify([containerName, resourceName, requestName]);
    if (seen.has(key))
      errors.push(
        duplicate(`${at}.containerName`, containerName),
        duplicate(`${at}.resourceName`, resourceName),
        duplicate(`${at}.requestName`, requestName),
      );
    seen.add(key);
  });
  const claim = extended.resourceClaimName ?? '';
  if (claim === '') errors.push(required(`${field}.resourceClaimName`));
  else errors.push(...invalidEach(`${field}.resourceClaimName`, claim, isDNS1123Subdomain(claim)));
  return errors;
}

function allocatableClaimStatuses(status: PodStatus, spec: PodSpec): Errors {
  const errors: Errors = [];
  (status.nodeAllocatableResourceClaimStatuses ?? []).forEach((s, i) => {
    const at = `status.nodeAllocatableResourceClaimStatuses[${i}]`;
    const name = s.resourceClaimName ?? '';
    if (name === '') errors.push(required(`${at}.resourceClaimName`, 'must not be empty'));
    const known = [...(spec.resourceClaims ?? []), ...(status.resourceClaimStatuses ?? [])];
    if (!known.some((c) => c.resourceClaimName === name))
      errors.push(invalid(`${at}.resourceClaimName`, name, 'no mapping found in pod reference'));
    if ((s.containers ?? []).length === 0) errors.push(required(`${at}.containers`, 'must not be empty'));
    const resources = Object.entries(s.resources ?? {});
    if (resources.length === 0) errors.push(required(`${at}.resources`, 'must not be empty'));
    for (const [resource, quantity] of resources) {
      const key = `${at}.resources[${resource}]`;
      if (!isNativeResource(resource)) errors.push(invalid(key, resource, 'must be a node allocatable resource name'));
      if (String(quantity).startsWith('-')) errors.push(invalid(key, quantity, 'must be non-negative'));
    }
  });
  return errors;
}

function addresses(ips: readonly string[], old: readonly string[], field: string, printed: unknown): Errors {
  const errors: Errors = [];
  ips.forEach((p, i) => errors.push(...validateIp(p, `${field}[${i}]`, old)));
  if (ips.length < 2) return errors;
  const wrong = ips.findIndex((p) => validateIp(p, '').length > 0);
  if (wrong >= 0)
    errors.push({
      type: 'InternalError',
      field,
      detail: `failed to check for dual stack with error:invalid IP[${wrong}]: ${ips[wrong]!}`,
    });
  const dual = wrong < 0 && ips.some(isIpv6) && !ips.every(isIpv6);
  if (!dual || ips.length > 2)
    errors.push(invalid(field, printed, 'may specify no more than one IP for each IP family'));
  return errors;
}

function podAddresses(status: PodStatus, old: PodStatus): Errors {
  const ipOf = (p: { readonly ip?: string }): string => p.ip ?? '';
  const errors = addresses(
    (status.podIPs ?? []).map(ipOf),
    (old.podIPs ?? []).map(ipOf),
    'status.podIPs',
    internalForm('[]core.PodIP', status.podIPs),
  );
  const hosts = (status.hostIPs ?? []).map(ipOf);
  if (hosts.length === 0) return errors;
  if ((status.hostIP ?? '') !== hosts[0])
    errors.push(invalid('status.hostIPs[0].ip', hosts[0], 'must be equal to `hostIP`'));
  errors.push(
    ...addresses(hosts, (old.hostIPs ?? []).map(ipOf), 'status.hostIPs', internalForm('[]core.HostIP', status.hostIPs)),
  );
  return errors;
}

function users(statuses: Statuses, field: string, spec: PodSpec): Errors {
  const errors: Errors = [];
  const os = spec.os === undefined ? 'linux' : spec.os.name;
  (statuses ?? []).forEach((s, i) => {
    const linux = s.user?.linux;
    if (linux === undefined) return;
    const at = `${field}[${i}].user.linux`;
    if (os === 'windows') errors.push(forbiddenField(at, 'cannot be set for a windows pod'));
    if (os !== 'linux') return;
    const id = (value: number | undefined, path: string): void => {
      const n = value ?? 0;
      if (n < 0 || n > maxInt32) errors.push(invalid(path, n, inclusiveRangeError(0, maxInt32)));
    };
    id(linux.uid, `${at}.uid`);
    id(linux.gid, `${at}.gid`);
    (linux.supplementalGroups ?? []).forEach((g, j) => id(g, `${at}.supplementalGroups[${j}]`));
  });
  return errors;
}

/** The container's own resource by that name: a claim of it, or what it requests. */
function hasResource(container: Container, name: string): boolean {
  if (!name.startsWith('claim:')) return container.resources?.requests?.[name] !== undefined;
  return (container.resources?.claims ?? []).some(
    (c) => name === `claim:${c.name}${c.request === undefined || c.request === '' ? '' : `/${c.request}`}`,
  );
}

function allocatedResources(statuses: Statuses, field: string, containers: readonly Container[] | undefined): Errors {
  const errors: Errors = [];
  (statuses ?? []).forEach((s, i) => {
    (s.allocatedResourcesStatus ?? []).forEach((allocated, j) => {
      const at = `${field}[${i}].allocatedResourcesStatus[${j}]`;
      const name = allocated.name ?? '';
      const container = containers?.find((c) => c.name === s.name);
      if (container !== undefined && !hasResource(container, name))
        errors.push(
          invalid(
            `${at}.name`,
            name,
            name.startsWith('claim:')
              ? "must match one of the container's resource claims in a format 'claim:<claimName>/<request>' or 'claim:<claimName>' if request is empty"
              : "must match one of the container's resource requests",
          ),
        );
      const seen = new Set<string>();
      (allocated.resources ?? []).forEach((r, k) => {
        const of = `${at}.resources[${k}]`;
        const { health = '', message, resourceID = '' } = r;
        if (!healths.includes(health)) errors.push(notSupported(`${of}.health`, health, healths));
        if (message === '') errors.push(required(`${of}.message`, 'must be non-empty if specified'));
        else if (message !== undefined && Buffer.byteLength(message) > maxHealthMessage)
          errors.push(tooLong(`${of}.message`, maxHealthMessage));
        if (seen.has(resourceID)) errors.push(duplicate(`${of}.resourceID`, resourceID));
        seen.add(resourceID);
      });
    });
  });
  return errors;
}

export function validatePodStatusUpdate(pod: Pod, old: Pod): Errors {
  const spec = pod.spec!;
  const status = pod.status ?? {};
  const before = old.status ?? {};
  const errors = validateConditions(status);
  if ((spec.nodeName ?? '') !== (old.spec?.nodeName ?? ''))
    errors.push(forbiddenField('status.nodeName', 'may not be changed directly'));
  const nominated = status.nominatedNodeName ?? '';
  if (nominated !== '' && nominated !== before.nominatedNodeName) {
    errors.push(...validateDnsSubdomain(nominated, 'status.nominatedNodeName'));
    if ((old.spec?.nodeName ?? '') !== '')
      errors.push(
        forbiddenField('status.nominatedNodeName', 'may not be set on pods that are already bound to a node'),
      );
  }
  const { observedGeneration = 0 } = status;
  if (observedGeneration < 0)
    errors.push(invalid('status.observedGeneration', observedGeneration, 'must be a non-negative integer'));
  if (before.qosClass !== undefined && before.qosClass !== status.qosClass)
    errors.push(invalid('status.qosClass', status.qosClass ?? '', 'field is immutable'));
  const lists = ['containerStatuses', 'initContainerStatuses', 'ephemeralContainerStatuses'] as const;
  for (const list of lists) {
    const restarting = list === 'ephemeralContainerStatuses' ? undefined : spec;
    errors.push(...transitions(status[list], before[list], restarting, `status.${list}`));
  }
  errors.push(
    ...claimStatuses(status, spec),
    ...extendedClaimStatus(status, spec),
    ...allocatableClaimStatuses(status, spec),
    ...podAddresses(status, before),
  );
  for (const list of lists) errors.push(...users(status[list], `status.${list}`, spec));
  errors.push(
    ...allocatedResources(status.containerStatuses, 'status.containerStatuses', spec.containers),
    ...allocatedResources(status.initContainerStatuses, 'status.initContainerStatuses', spec.initContainers),
  );
  (status.ephemeralContainerStatuses ?? []).forEach((s, i) => {
    if ((s.allocatedResourcesStatus ?? []).length > 0)
      errors.push(
        forbiddenField(
          `status.ephemeralContainerStatuses[${i}].allocatedResourcesStatus`,
          'must not be specified in container status',
        ),
      );
  });
  return errors;
}
