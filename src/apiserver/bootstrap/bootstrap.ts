/**
 * What an API server sees to when it starts, on a new store and on an old one: system namespaces, default RBAC, priority
 * classes, flow control, the service range and the `kubernetes` Service. Writes go out together, so that group commit
 * makes a few syncs of them; on an old store everything is compared in memory and nothing is written.
 */
import type { Logger } from '../../base/logger.ts';
import { FeatureGates } from '../../api/features/feature-gates.ts';
import type { KubeObject } from '../../api/object.ts';
import type { Registries } from '../registry.ts';
import { ensureFlowControl } from './flow-control.ts';
import {
  authenticationConfigMap,
  kubernetesServiceObjects,
  namespaceObjects,
  priorityClassObjects,
  serviceCidrObject,
  type AdvertisedAddress,
  type AuthenticationFiles,
  type BootstrapObject,
} from './objects.ts';
import { policyObjects, type PolicyObject } from './policy.ts';
import { reconcileBinding, reconcileRole, splitBinding, splitOff } from './reconcile-rbac.ts';
import type { StartWrites } from './start-writes.ts';
import { joinedTrust } from './trust.ts';
import { BootstrapWriter } from './writer.ts';

const rbacGroup = 'rbac.authorization.k8s.io';

export interface BootstrapOptions {
  /** `--feature-gates`; the release's defaults when left out. */
  readonly features?: FeatureGates;
  readonly registries: Registries;
  readonly logger: Logger;
  readonly authentication: AuthenticationFiles;
  /** `--service-cluster-ip-range`: one range, or two of different families. */
  readonly serviceCidrs: readonly string[];
  /** undefined: no `kubernetes` Service (a server that nobody reaches over the network). */
  readonly advertised: AdvertisedAddress | undefined;
  readonly writes: StartWrites;
  /** What the time is, in milliseconds. */
  readonly now: number;
  /** False: its addresses are somebody else's business. */
  readonly endpoints?: boolean;
}

async function ensure(writer: BootstrapWriter, o: BootstrapObject): Promise<void> {
  if (!writer.serves(o.group, o.resource)) return;
  if (writer.current(o.group, o.resource, o.object.metadata) === undefined)
    await writer.create(o.group, o.resource, o.object);
}

function sameJson(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

/** Creates the object, or puts back the given members of an existing one. */
export async function ensureMembers(
  writer: BootstrapWriter,
  o: BootstrapObject,
  members: readonly string[],
): Promise<void> {
  const current = writer.current(o.group, o.resource, o.object.metadata);
  if (current === undefined) {
    await writer.create(o.group, o.resource, o.object);
    return;
  }
  const change = (c: KubeObject): KubeObject => {
    const next = { ...c };
    for (const m of members) next[m] = o.object[m];
    return next;
  };
  if (members.some((m) => !sameJson(sorted(current[m]), sorted(o.object[m]))))
    await writer.update(o.group, o.resource, o.object.metadata, change);
}

/** The `kubernetes` Service with a node port, also where it was there without one. */
async function ensureNodePort(writer: BootstrapWriter, o: BootstrapObject): Promise<void> {
  const current = writer.current(o.group, o.resource, o.object.metadata);
  if (current === undefined) {
    await writer.create(o.group, o.resource, o.object);
    return;
  }
  const { type, ports, externalTrafficPolicy } = o.object['spec'] as Record<string, unknown>;
  const spec = (object: KubeObject): Record<string, unknown> => object['spec'] as Record<string, unknown>;
  if (spec(current)['type'] === type && sameJson(sorted(spec(current)['ports']), sorted(ports))) return;
  await writer.update(o.group, o.resource, o.object.metadata, (c) => ({
    ...c,
    spec: { ...spec(c), type, ports, externalTrafficPolicy },
  }));
}

/** The same value with the members of objects in order. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== 'object' || value === null) return value;
  const source = value as Record<string, unknown>;
  return Object.fromEntries(
    Object.keys(source)
      .toSorted()
      .map((key) => [key, sorted(source[key])]),
  );
}

/** `discovery`: the binding of that name as it was before anything was written. */
async function ensurePolicy(
  writer: BootstrapWriter,
  o: PolicyObject,
  discovery: KubeObject | undefined,
): Promise<void> {
  const { resource, object } = o;
  const current = writer.current(rbacGroup, resource, object.metadata);
  if (current === undefined) {
    const split =
      discovery !== undefined && resource === 'clusterrolebindings' && object.metadata.name === splitBinding.to;
    await writer.create(rbacGroup, resource, split ? splitOff(discovery, object) : object);
    return;
  }
  const reconcile = resource === 'roles' || resource === 'clusterroles' ? reconcileRole : reconcileBinding;
  const result = reconcile(current, object);
  if (result.kind === 'same') return;
  if (result.kind === 'recreate') {
    await writer.delete(rbacGroup, resource, object.metadata);
    await writer.create(rbacGroup, resource, object);
    return;
  }
  await writer.update(rbacGroup, resource, object.metadata, (newest) => {
    const again = reconcile(newest, object);
    return again.kind === 'update' ? again.object : newest;
  });
}

/** What aggregated API servers authenticate callers with, once it has changed. */
export function publishAuthentication(registries: Registries, files: AuthenticationFiles, now: number): Promise<void> {
  return ensureAuthentication(new BootstrapWriter(registries), files, now);
}

function ensureAuthentication(writer: BootstrapWriter, files: AuthenticationFiles, now: number): Promise<void> {
  const o = authenticationConfigMap(files);
  const current = writer.current(o.group, o.resource, o.object.metadata);
  const data = joinedTrust(current, o.object['data'] as Record<string, string>, now);
  return ensureMembers(writer, { ...o, object: { ...o.object, data } }, ['data']);
}

/** The default ServiceCIDR; one of a single family gets the second one when the server is told of two. */
async function ensureServiceCidr(writer: BootstrapWriter, cidrs: readonly string[]): Promise<void> {
  const o = serviceCidrObject(cidrs);
  if (!writer.serves(o.group, o.resource)) return;
  const current = writer.current(o.group, o.resource, o.object.metadata);
  if (current === undefined) {
    await writer.create(o.group, o.resource, o.object);
    return;
  }
  const there = (current['spec'] as { readonly cidrs?: readonly string[] } | undefined)?.cidrs ?? [];
  if (cidrs.length !== 2 || there.length !== 1 || there[0] !== cidrs[0]) return;
  await writer.update(o.group, o.resource, o.object.metadata, (c) => ({ ...c, spec: o.object['spec'] }));
}

/** What comes back while the server runs. */
export async function ensureStanding(
  options: Pick<BootstrapOptions, 'registries' | 'authentication' | 'serviceCidrs' | 'advertised' | 'now'>,
): Promise<void> {
  const writer = new BootstrapWriter(options.registries);
  await ensureServiceCidr(writer, options.serviceCidrs);
  if (options.advertised !== undefined) await ensure(writer, kubernetesServiceObjects(options.advertised)[0]!);
  await ensureAuthentication(writer, options.authentication, options.now);
}

/** Resolves when all of it is stored, or will be as soon as the API lets it. The registries' caches must be filled; RBAC indexes follow by themselves. */
export async function bootstrap(options: BootstrapOptions): Promise<void> {
  const writer = new BootstrapWriter(options.registries);
  const attempt = (write: () => Promise<void>): Promise<void> => options.writes.attempt(write);
  await Promise.all(namespaceObjects().map((o) => attempt(() => ensure(writer, o))));
  const addresses = async (): Promise<void> => {
    await attempt(() => ensureServiceCidr(writer, options.serviceCidrs));
    if (options.advertised === undefined) return;
    const [service, endpoints, slice] = kubernetesServiceObjects(options.advertised);
    await Promise.all([
      attempt(() =>
        options.advertised?.nodePort === undefined ? ensure(writer, service!) : ensureNodePort(writer, service!),
      ),
      ...(options.endpoints === false
        ? []
        : [
            attempt(() => ensureMembers(writer, endpoints!, ['subsets'])),
            attempt(() => ensureMembers(writer, slice!, ['endpoints', 'ports'])),
          ]),
    ]);
  };
  const discovery = writer.current(rbacGroup, 'clusterrolebindings', { name: splitBinding.from });
  await Promise.all([
    ...policyObjects(options.features ?? new FeatureGates()).map((o) =>
      attempt(() => ensurePolicy(writer, o, discovery)),
    ),
    ...priorityClassObjects().map((o) => attempt(() => ensure(writer, o))),
    attempt(() => ensureFlowControl(options.registries)),
    attempt(() => ensureAuthentication(writer, options.authentication, options.now)),
    addresses(),
  ]);
  options.logger.debug('bootstrap objects are in place');
}
