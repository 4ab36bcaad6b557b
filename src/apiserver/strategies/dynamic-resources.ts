/**
 * Strategies of resource.k8s.io. Members behind a feature gate that is off are dropped unless the object uses them already;
 * who may write which part of a claim's status is asked of the authorizer.
 */
import { DeviceSelectorCompiler } from '../../api/cel/device-selector.ts';
import type { FeatureGateName, FeatureGates } from '../../api/features/feature-gates.ts';
import { forbiddenField, type FieldError } from '../../api/field-error.ts';
import { semanticEqual } from '../../api/helpers/deep-equal.ts';
import { isDNS1123Subdomain, isLongName } from '../../api/names.ts';
import type { KubeObject } from '../../api/object.ts';
import { formatTime } from '../../api/time.ts';
import type {
  AllocatedDeviceStatus,
  AllocationResult,
  Device,
  DeviceClassSpec,
  DeviceRequest,
  DeviceTaint,
  ResourceClaimSpec,
  ResourceClaimStatus,
  ResourceClaimTemplateSpec,
  ResourceSliceSpec,
} from '../../api/types/resource-v1.gen.ts';
import type { Namespace } from '../../api/types/core-v1.gen.ts';
import { Namespaces } from '../admission/namespaces.ts';
import type { Authorizer } from '../context.ts';
import { forbiddenByAuthorizer } from '../filters/authorization.ts';
import type { Registries } from '../registry.ts';
import type { Draft, Findings, ResourceStrategies, StrategyContext } from '../strategy.ts';
import {
  resourceSliceWarnings,
  validateDeviceTaintRule,
  validateDeviceTaintRuleStatus,
  validateResourcePoolStatus,
  validateResourcePoolStatusRequest,
  validateResourceSlice,
} from '../validation/resource-slice.ts';
import type { DeviceRules } from '../validation/devices.ts';
import { specOf, statusOf, validateImmutable } from '../validation/field.ts';
import {
  sharedDeviceId,
  validateDeviceClass,
  validateResourceClaim,
  validateResourceClaimStatusUpdate,
  validateResourceClaimTemplate,
  validateResourceClaimUpdate,
} from '../validation/resource-claim.ts';
import { afterCheck } from './asynchronous.ts';
import { bumpWhenChanged, plainKind, type StatusOptions } from './common.ts';

export interface DynamicResourceDeps {
  readonly features: FeatureGates;
  readonly registries: Registries;
  /** undefined: nothing is held against what the caller may do. */
  readonly authorizer?: Authorizer | undefined;
}

const group = 'resource.k8s.io';
const adminLabel = 'resource.kubernetes.io/admin-access';

type Json = Record<string, unknown>;

/** A copy without some members; the same object when it has none of them. */
function without<T extends object>(value: T, ...members: readonly (keyof T)[]): T {
  if (!members.some((m) => m in value)) return value;
  const copy = { ...value };
  for (const m of members) delete copy[m];
  return copy;
}

/** A list whose items are changed; the same list when no item is. */
function mapped<T>(list: readonly T[] | null | undefined, change: (item: T) => T): T[] | undefined {
  if (list === undefined || list === null) return undefined; // some lists are written as null when they are empty
  const out = list.map(change);
  return out.some((item, i) => item !== list[i]) ? out : (list as T[]);
}

// Claims ---------------------------------------------------------------------------------------------------------------

function requestsOf(spec: ResourceClaimSpec | undefined): readonly DeviceRequest[] {
  return spec?.devices?.requests ?? [];
}

/** What each request, and each alternative of it, asks for. */
function wantedOf(spec: ResourceClaimSpec | undefined): readonly { tolerations?: unknown; capacity?: unknown }[] {
  return requestsOf(spec).flatMap((r) => [
    ...(r.exactly === undefined ? [] : [r.exactly]),
    ...(r.firstAvailable ?? []),
  ]);
}

const capacityInUse = (spec: ResourceClaimSpec | undefined): boolean =>
  (spec?.devices?.constraints ?? []).some((c) => c.distinctAttribute !== undefined) ||
  wantedOf(spec).some((w) => w.capacity !== undefined);

function cleanClaimSpec(
  features: FeatureGates,
  spec: ResourceClaimSpec,
  old: ResourceClaimSpec | undefined,
): ResourceClaimSpec {
  let devices = spec.devices;
  if (devices === undefined) return spec;
  const change = (edit: (request: DeviceRequest) => DeviceRequest): void => {
    const requests = mapped(devices?.requests, edit);
    if (requests !== undefined && requests !== devices?.requests) devices = { ...devices, requests };
  };
  const wanted = (member: 'tolerations' | 'capacity'): void =>
    change((r) => {
      const exactly = r.exactly === undefined ? undefined : without(r.exactly, member);
      const firstAvailable = mapped(r.firstAvailable, (s) => without(s, member));
      if (exactly === r.exactly && firstAvailable === r.firstAvailable) return r;
      return {
        ...r,
        ...(exactly === undefined ? {} : { exactly }),
        ...(firstAvailable === undefined ? {} : { firstAvailable }),
      };
    });
  if (!features.enabled('DRAPrioritizedList') && !requestsOf(old).some((r) => (r.firstAvailable ?? []).length > 0))
    change((r) => without(r, 'firstAvailable'));
  if (!features.enabled('DRADeviceTaints') && !wantedOf(old).some((w) => w.tolerations !== undefined))
    wanted('tolerations');
  if (!features.enabled('DRAConsumableCapacity') && !capacityInUse(old)) {
    wanted('capacity');
    const constraints = mapped(devices.constraints, (c) => without(c, 'distinctAttribute'));
    if (constraints !== undefined) devices = { ...devices, constraints };
  }
  return devices === spec.devices ? spec : { ...spec, devices };
}

/** `adminAccess` reaches into what others use: the namespace must be marked for it. */
function adminErrors(deps: DynamicResourceDeps, object: KubeObject, path: string | undefined): Findings {
  if (path === undefined) return [];
  const judge = (namespace: Namespace): FieldError[] =>
    namespace.metadata?.labels?.[adminLabel] === 'true'
      ? []
      : [
          forbiddenField(
            path,
            `admin access to devices requires the \`${adminLabel}: true\` label on the containing namespace`,
          ),
        ];
  const namespace = new Namespaces(deps.registries).get(object.metadata.namespace ?? '');
  if (!(namespace instanceof Promise)) return judge(namespace);
  return namespace.then(judge, (error: unknown) => {
    const why = error instanceof Error ? error.message : String(error);
    const detail = `could not retrieve namespace to verify admin access: ${why}`;
    return [{ type: 'InternalError', field: path, detail }];
  });
}

/** Both, the ones of `first` before the others. */
function together(first: Findings, others: readonly FieldError[]): Findings {
  return first instanceof Promise ? first.then((errors) => [...errors, ...others]) : [...first, ...others];
}

function adminRequested(spec: ResourceClaimSpec | undefined): string | undefined {
  const i = requestsOf(spec).findIndex((r) => r.exactly?.adminAccess === true);
  return i < 0 ? undefined : `spec.devices.requests[${i}].adminAccess`;
}

function adminGranted(allocation: AllocationResult | undefined): string | undefined {
  const i = (allocation?.devices?.results ?? []).findIndex((r) => r.adminAccess === true);
  return i < 0 ? undefined : `status.allocation.devices.results[${i}].adminAccess`;
}

function cleanClaimStatus(features: FeatureGates, object: Draft, old: KubeObject): void {
  if (object['status'] === undefined) return;
  let status = statusOf<ResourceClaimStatus>(object) as ResourceClaimStatus;
  const before = statusOf<ResourceClaimStatus>(old);
  const oldResults = before.allocation?.devices?.results ?? [];
  const results = (...members: readonly (keyof (typeof oldResults)[number])[]): void => {
    const { allocation } = status;
    const list = mapped(allocation?.devices?.results, (r) => without(r, ...members));
    if (allocation === undefined || list === undefined || list === allocation.devices?.results) return;
    status = { ...status, allocation: { ...allocation, devices: { ...allocation.devices, results: list } } };
  };
  const deviceStatus = features.enabled('DRAResourceClaimDeviceStatus') || (before.devices ?? []).length > 0;
  if (!deviceStatus) status = without(status, 'devices');
  const shares =
    capacityInUse(specOf<ResourceClaimSpec>(old)) ||
    oldResults.some((r) => r.shareID !== undefined || r.consumedCapacity !== undefined) ||
    (before.devices ?? []).some((d) => d.shareID !== undefined);
  if (!features.enabled('DRAConsumableCapacity') && !shares) {
    results('shareID', 'consumedCapacity');
    const devices = mapped(status.devices, (d) => without(d, 'shareID'));
    if (devices !== undefined) status = { ...status, devices };
  }
  const binding = oldResults.some((r) => r.bindingConditions !== undefined || r.bindingFailureConditions !== undefined);
  if (!features.enabled('DRADeviceBindingConditions') && !binding)
    results('bindingConditions', 'bindingFailureConditions');
  if (deviceStatus && status.devices !== undefined) {
    // What is no longer given out has no status either.
    const kept = new Set((status.allocation?.devices?.results ?? []).map(sharedDeviceId));
    const gone = new Set(oldResults.map(sharedDeviceId).filter((id) => !kept.has(id)));
    const devices = status.devices.filter((d) => !gone.has(sharedDeviceId(d)));
    status = devices.length === 0 ? without(status, 'devices') : { ...status, devices };
  }
  object['status'] = status;
}

/** Drivers whose part of the status a write adds, changes or takes away; nothing of it is known to be well-formed yet. */
function touchedDrivers(now: ResourceClaimStatus, before: ResourceClaimStatus): string[] {
  const old = new Map<string, AllocatedDeviceStatus>((before.devices ?? []).map((d) => [sharedDeviceId(d), d]));
  const drivers = new Set<string>();
  for (const device of now.devices ?? []) {
    const id = sharedDeviceId(device);
    const previous = old.get(id);
    old.delete(id);
    if (previous === undefined || !semanticEqual(previous, device)) drivers.add(device.driver ?? '');
  }
  for (const device of old.values()) drivers.add(device.driver ?? '');
  return [...drivers].sort();
}

/** The one node that an allocation is for, where it is. */
function nodeOf(allocation: AllocationResult | undefined): string | undefined {
  const terms = allocation?.nodeSelector?.nodeSelectorTerms ?? [];
  const [term] = terms;
  if (terms.length !== 1 || term === undefined || (term.matchExpressions ?? []).length > 0) return undefined;
  const [field, ...more] = term.matchFields ?? [];
  if (field === undefined || more.length > 0 || field.key !== 'metadata.name' || field.operator !== 'In')
    return undefined;
  return field.values?.length === 1 ? field.values[0] : undefined;
}

function isOnNode({ request }: StrategyContext, node: string | undefined): boolean {
  const { name, extra } = request.user;
  const nodes = extra?.['authentication.kubernetes.io/node-name'] ?? [];
  return (
    node !== undefined &&
    name.startsWith('system:serviceaccount:') &&
    nodes.length === 1 &&
    nodes[0] === node &&
    isDNS1123Subdomain(node).length === 0
  );
}

async function statusAccess(
  authorizer: Authorizer,
  features: FeatureGates,
  ctx: StrategyContext,
  object: KubeObject,
  old: KubeObject,
): Promise<readonly FieldError[]> {
  const now = statusOf<ResourceClaimStatus>(object) as ResourceClaimStatus;
  const before = statusOf<ResourceClaimStatus>(old) as ResourceClaimStatus;
  const { info, user } = ctx.request;
  const errors: FieldError[] = [];
  const ask = async (
    verb: string,
    subresource: string,
    namespace: string,
    name: string,
  ): Promise<string | undefined> => {
    const attributes = {
      user,
      verb,
      isResourceRequest: true,
      group,
      version: info.version,
      resource: 'resourceclaims',
      subresource,
      namespace,
      name,
      path: info.path,
    };
    const { decision, reason, error } = await authorizer.authorize(attributes);
    if (decision === 'allow') return undefined;
    const why = [...(error === undefined ? [] : [error.message]), ...(reason === '' ? [] : [reason])].join(': ');
    return forbiddenByAuthorizer(attributes, why).message;
  };
  const { verb } = info;
  if (!semanticEqual(now.allocation, before.allocation) || !semanticEqual(now.reservedFor, before.reservedFor)) {
    const why = await ask(verb, 'binding', '', '');
    if (why !== undefined)
      errors.push(
        forbiddenField(
          'status.allocation',
          `changing status.allocation or status.reservedFor requires resource="resourceclaims/binding", verb="${verb}" permission: ${why}`,
        ),
      );
  }
  if (features.enabled('DRAResourceClaimDeviceStatus') && now.allocation !== undefined) {
    const verbs = [
      ...(isOnNode(ctx, nodeOf(now.allocation)) ? [`associated-node:${verb}`] : []),
      `arbitrary-node:${verb}`,
    ];
    for (const driver of touchedDrivers(now, before)) {
      let first: string | undefined;
      let allowed = false;
      for (const v of verbs) {
        const why = await ask(v, 'driver', info.namespace, driver);
        if (why === undefined) {
          allowed = true;
          break;
        }
        first ??= why;
      }
      if (!allowed)
        errors.push(
          forbiddenField(
            'status.devices',
            `changing status.devices requires resource="resourceclaims/driver", verb="[${verbs.join(' ')}]" permission: ${first}`,
          ),
        );
    }
  }
  return errors;
}

function claims(deps: DynamicResourceDeps, rules: DeviceRules): ResourceStrategies {
  const { features, authorizer } = deps;
  const clean = (object: Draft, old: KubeObject | undefined): void => {
    const spec = object['spec'] as ResourceClaimSpec | undefined;
    if (spec !== undefined)
      object['spec'] = cleanClaimSpec(features, spec, old?.['spec'] as ResourceClaimSpec | undefined);
  };
  const kind = plainKind(
    {
      status: true,
      create: (object) => clean(object, undefined),
      update: clean,
      validate: (object) =>
        together(
          adminErrors(deps, object, adminRequested(object['spec'] as ResourceClaimSpec | undefined)),
          validateResourceClaim(rules, object),
        ),
      validateUpdate: validateResourceClaimUpdate,
    },
    {
      keepsMetadata: true,
      update: (object, old) => cleanClaimStatus(features, object, old),
      validateUpdate: validateResourceClaimStatusUpdate,
    },
  );
  const granular = authorizer !== undefined && features.enabled('DRAResourceClaimGranularStatusAuthorization');
  const status = afterCheck(kind.subresources['status']!, (ctx, object, old) => {
    const admin =
      adminGranted(statusOf<ResourceClaimStatus>(old).allocation) === undefined
        ? adminErrors(deps, object, adminGranted(statusOf<ResourceClaimStatus>(object).allocation))
        : [];
    return granular
      ? statusAccess(authorizer, features, ctx, object, old).then((errors) => together(admin, errors))
      : admin;
  });
  return { ...kind, subresources: { status } };
}

function templates(deps: DynamicResourceDeps, rules: DeviceRules): ResourceStrategies {
  const specIn = (object: KubeObject | undefined): ResourceClaimTemplateSpec | undefined =>
    object?.['spec'] as ResourceClaimTemplateSpec | undefined;
  const clean = (object: Draft, old: KubeObject | undefined): void => {
    const template = specIn(object);
    if (template?.spec !== undefined)
      object['spec'] = { ...template, spec: cleanClaimSpec(deps.features, template.spec, specIn(old)?.spec) };
  };
  return plainKind({
    create: (object) => clean(object, undefined),
    update: clean,
    validate: (object) =>
      together(
        adminErrors(deps, object, adminRequested(specIn(object)?.spec)),
        validateResourceClaimTemplate(rules, object),
      ),
    validateUpdate: (object, old) => [
      ...validateResourceClaimTemplate(rules, object),
      ...validateImmutable(object['spec'], old['spec'], 'spec', 'resource.ResourceClaimTemplateSpec'),
    ],
  });
}

// Slices ---------------------------------------------------------------------------------------------------------------

/** Members of a device that a gate switches, and whether an object uses them already. */
interface Gated {
  readonly gates: readonly FeatureGateName[];
  readonly device: readonly (keyof Device)[];
  readonly spec?: readonly (keyof ResourceSliceSpec)[];
}

const gated: readonly Gated[] = [
  { gates: ['DRADeviceTaints'], device: ['taints'] },
  {
    gates: ['DRAPartitionableDevices'],
    device: ['consumesCounters', 'nodeName', 'nodeSelector', 'allNodes'],
    spec: ['sharedCounters', 'perDeviceNodeSelection'],
  },
  {
    gates: ['DRADeviceBindingConditions', 'DRAResourceClaimDeviceStatus'],
    device: ['bindingConditions', 'bindingFailureConditions', 'bindsToNode'],
  },
  { gates: ['DRANodeAllocatableResources'], device: ['nodeAllocatableResourceMappings'] },
];

const listMembers = ['bools', 'ints', 'strings', 'versions'] as const;

function entries<T extends object>(
  map: Readonly<Record<string, T>> | undefined,
  ...members: readonly (keyof T)[]
): Record<string, T> | undefined {
  return map === undefined
    ? undefined
    : Object.fromEntries(Object.entries(map).map(([k, v]) => [k, without(v, ...members)]));
}

function cleanSlice(features: FeatureGates, object: Draft, old: KubeObject | undefined): void {
  let spec = object['spec'] as ResourceSliceSpec | undefined;
  if (spec === undefined) return;
  const before = old?.['spec'] as ResourceSliceSpec | undefined;
  const oldDevices = before?.devices ?? [];
  const devices = (edit: (device: Device) => Device): void => {
    const list = mapped(spec!.devices, edit);
    if (list !== undefined && list !== spec!.devices) spec = { ...spec!, devices: list };
  };
  for (const { gates, device, spec: ofSpec = [] } of gated) {
    if (gates.every((g) => features.enabled(g))) continue;
    if (ofSpec.some((m) => before?.[m] !== undefined)) continue;
    if (oldDevices.some((d) => device.some((m) => d[m] !== undefined))) continue;
    spec = without(spec, ...ofSpec);
    devices((d) => without(d, ...device));
  }
  const policies = oldDevices.some(
    (d) =>
      d.allowMultipleAllocations !== undefined ||
      Object.values(d.capacity ?? {}).some((c) => c.requestPolicy !== undefined),
  );
  if (!features.enabled('DRAConsumableCapacity') && !policies)
    devices((d) => {
      const capacity = entries(d.capacity, 'requestPolicy');
      return { ...without(d, 'allowMultipleAllocations'), ...(capacity === undefined ? {} : { capacity }) };
    });
  const lists = oldDevices.some((d) =>
    Object.values(d.attributes ?? {}).some((a) => listMembers.some((m) => a[m] !== undefined)),
  );
  if (!features.enabled('DRAListTypeAttributes') && !lists)
    devices((d) => {
      const attributes = entries(d.attributes, ...listMembers);
      return attributes === undefined ? d : { ...d, attributes };
    });
  object['spec'] = spec;
}

/** How many pools are told of, where nobody says. */
function limited(object: Draft): void {
  const spec = object['spec'] as { limit?: number } | undefined;
  if (spec !== undefined && spec.limit === undefined) object['spec'] = { ...spec, limit: 100 };
}

export function dynamicResourceStrategies(deps: DynamicResourceDeps): Record<string, ResourceStrategies> {
  const { features } = deps;
  const consumableCapacity = features.enabled('DRAConsumableCapacity');
  let compiler: DeviceSelectorCompiler | undefined;
  const rules: DeviceRules = {
    get selectors() {
      return (compiler ??= new DeviceSelectorCompiler({
        consumableCapacity,
        listAttributes: features.enabled('DRAListTypeAttributes'),
      }));
    },
    consumableCapacity,
  };
  const cleanClass = (object: Draft, old: KubeObject | undefined): void => {
    const spec = object['spec'] as DeviceClassSpec | undefined;
    const inUse = (old?.['spec'] as DeviceClassSpec | undefined)?.extendedResourceName !== undefined;
    if (spec !== undefined && !features.enabled('DRAExtendedResource') && !inUse)
      object['spec'] = without(spec, 'extendedResourceName');
  };
  const ofStatus = (validateUpdate: NonNullable<StatusOptions['validateUpdate']>): StatusOptions => ({
    keepsMetadata: true,
    validateUpdate,
  });
  return {
    deviceclasses: plainKind({
      validateName: isLongName,
      generation: ['spec'],
      create: (object) => cleanClass(object, undefined),
      update: cleanClass,
      validate: (object) => validateDeviceClass(rules, object, undefined),
      validateUpdate: (object, old) => validateDeviceClass(rules, object, old),
    }),
    resourceclaims: claims(deps, rules),
    resourceclaimtemplates: templates(deps, rules),
    resourceslices: plainKind({
      generation: [],
      create: (object) => cleanSlice(features, object, undefined),
      update(object, old) {
        // Counted before the cleaning, as upstream does.
        bumpWhenChanged(object, old, ['spec']);
        cleanSlice(features, object, old);
      },
      validate: (object) => validateResourceSlice(object, undefined),
      validateUpdate: validateResourceSlice,
      warnings: resourceSliceWarnings,
    }),
    devicetaintrules: plainKind(
      {
        status: true,
        generation: ['spec'],
        update(object, old, ctx) {
          const { taint } = (object['spec'] ?? {}) as { taint?: DeviceTaint };
          const { taint: before } = (old['spec'] ?? {}) as { taint?: DeviceTaint };
          if (taint === undefined || taint.effect === before?.effect || taint.timeAdded !== before?.timeAdded) return;
          object['spec'] = {
            ...(object['spec'] as Json),
            taint: { ...taint, timeAdded: formatTime(Math.floor(ctx.now / 1000) * 1000) },
          };
        },
        validate: (object) => validateDeviceTaintRule(object, undefined),
        validateUpdate: validateDeviceTaintRule,
      },
      ofStatus((object) => validateDeviceTaintRuleStatus(object)),
    ),
    resourcepoolstatusrequests: plainKind(
      {
        status: true,
        allowUnconditionalUpdate: false,
        create: limited,
        update: limited,
        validate: (object) => validateResourcePoolStatusRequest(object, undefined),
        validateUpdate: validateResourcePoolStatusRequest,
      },
      { ...ofStatus(validateResourcePoolStatus), allowUnconditionalUpdate: false },
    ),
  };
}
