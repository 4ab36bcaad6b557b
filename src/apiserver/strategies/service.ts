/**
 * Service: linked address fields are brought in line, addresses and ports are allocated in the course of the write and
 * given back when it fails or the Service is gone.
 */
import { invalid, invalidStatus, type FieldError } from '../../api/field-error.ts';
import type { FeatureGates } from '../../api/features/feature-gates.ts';
import { nameIsDNS1035Label, nameIsDNSLabel } from '../../api/names.ts';
import type { KubeObject } from '../../api/object.ts';
import { internalError } from '../../api/status.ts';
import type { ServicePort, ServiceSpec } from '../../api/types/core-v1.gen.ts';
import { AllocationError, type ClusterIpAllocator } from '../allocators/cluster-ip.ts';
import type { NodePortAllocator, PortOperation } from '../allocators/node-port.ts';
import type { Family } from '../allocators/address.ts';
import { deleteIfPresent } from '../loopback.ts';
import type { Registries } from '../registry.ts';
import type { Draft, ResourceStrategies } from '../strategy.ts';
import { specOf } from '../validation/field.ts';
import { isIpv6 } from '../validation/ip.ts';
import {
  isExternallyAccessible,
  needsHealthCheck,
  serviceWarnings,
  validateClusterIpFields,
  validateService,
  validateServiceStatusUpdate,
  validateServiceUpdate,
} from '../validation/service.ts';
import { keepStatus, statusStrategy } from './common.ts';

type Spec = Partial<ServiceSpec>;

export interface ServiceDeps {
  readonly registries: Registries;
  readonly clusterIps: ClusterIpAllocator;
  readonly nodePorts: Pick<NodePortAllocator, 'run'>;
}

const needsClusterIp = (spec: Spec): boolean => spec.type !== 'ExternalName';
const needsNodePort = (spec: Spec): boolean => spec.type === 'NodePort' || spec.type === 'LoadBalancer';
const same = (a: readonly unknown[] | undefined, b: readonly unknown[] | undefined): boolean =>
  (a ?? []).length === (b ?? []).length && (a ?? []).every((v, i) => v === b![i]);
const familyOf = (ip: string): Family => (isIpv6(ip) ? 'IPv6' : 'IPv4');

function shouldAllocateNodePorts(spec: Spec): boolean {
  return spec.type === 'NodePort' || (spec.type === 'LoadBalancer' && spec.allocateLoadBalancerNodePorts !== false);
}

function nodePortsOf(spec: Spec): number[] {
  return (spec.ports ?? []).map((p) => p.nodePort ?? 0).filter((p) => p !== 0);
}

/** Values that the server gave and the client left out stay as they are. */
function patchAllocated(spec: Spec, old: Spec): void {
  if (needsClusterIp(old) && needsClusterIp(spec)) {
    if ((spec.clusterIP ?? '') === '' && old.clusterIP !== undefined) spec.clusterIP = old.clusterIP;
    if ((spec.clusterIPs ?? []).length === 0 && old.clusterIPs !== undefined) spec.clusterIPs = old.clusterIPs;
  }
  // Who wants none any more gets rid of them by leaving them out.
  if (shouldAllocateNodePorts(old) && shouldAllocateNodePorts(spec) && spec.ports !== undefined) {
    const now = new Set(nodePortsOf(spec));
    const used = new Set(nodePortsOf(old).filter((p) => now.has(p)));
    const byName = new Map((old.ports ?? []).map((p) => [p.name ?? '', p.nodePort ?? 0]));
    spec.ports = spec.ports.map((p): ServicePort => {
      if ((p.nodePort ?? 0) !== 0) return p;
      const before = byName.get(p.name ?? '') ?? 0;
      return before === 0 || used.has(before) ? p : { ...p, nodePort: before };
    });
  }
  if (needsHealthCheck(old) && needsHealthCheck(spec) && (spec.healthCheckNodePort ?? 0) === 0)
    if (old.healthCheckNodePort !== undefined) spec.healthCheckNodePort = old.healthCheckNodePort;
}

/** clusterIP and clusterIPs follow each other, whichever the client knows. */
function normalizeClusterIps(spec: Spec, old: Spec | undefined): void {
  if (old === undefined) {
    if ((spec.clusterIP ?? '') !== '' && (spec.clusterIPs ?? []).length === 0) spec.clusterIPs = [spec.clusterIP!];
    return;
  }
  const ip = spec.clusterIP ?? '';
  const before = old.clusterIP ?? '';
  if ((old.clusterIPs ?? []).length > 0 && (spec.clusterIPs ?? []).length === 0 && ip === before)
    spec.clusterIPs = old.clusterIPs!;
  if (ip === before || !same(spec.clusterIPs, old.clusterIPs)) return;
  if (before !== '' && ip === '') delete spec.clusterIPs;
  else spec.clusterIPs = [ip];
}

/** A change of type drops what belonged to the old type, unless the client changed it too. */
function dropTypeDependent(object: Draft, spec: Spec, old: Spec): void {
  if (needsClusterIp(old) && !needsClusterIp(spec)) {
    if (spec.clusterIP === old.clusterIP && same(spec.clusterIPs, old.clusterIPs)) {
      delete spec.clusterIP;
      delete spec.clusterIPs;
    }
    if (same(spec.ipFamilies, old.ipFamilies)) delete spec.ipFamilies;
    if (spec.ipFamilyPolicy === old.ipFamilyPolicy) delete spec.ipFamilyPolicy;
  }
  if (needsNodePort(old) && !needsNodePort(spec)) {
    const before = new Set(nodePortsOf(old));
    if (nodePortsOf(spec).every((p) => before.has(p)) && spec.ports !== undefined)
      spec.ports = spec.ports.map((p) => {
        const { nodePort: _n, ...rest } = p;
        return rest;
      });
  }
  if (needsHealthCheck(old) && !needsHealthCheck(spec) && spec.healthCheckNodePort === old.healthCheckNodePort)
    delete spec.healthCheckNodePort;
  if (old.type === 'LoadBalancer' && spec.type !== 'LoadBalancer') {
    if (spec.allocateLoadBalancerNodePorts === old.allocateLoadBalancerNodePorts)
      delete spec.allocateLoadBalancerNodePorts;
    if (spec.loadBalancerClass === old.loadBalancerClass) delete spec.loadBalancerClass;
  }
  if (isExternallyAccessible(old) && !isExternallyAccessible(spec))
    if (spec.externalTrafficPolicy === old.externalTrafficPolicy) delete spec.externalTrafficPolicy;
  if (spec.type !== 'LoadBalancer') object['status'] = { ...(object['status'] as object), loadBalancer: {} };
}

/** Fills ipFamilyPolicy and ipFamilies from what the client gave and what the cluster has. Throws 422. */
function initFamilies(name: string, spec: Spec, old: Spec | undefined, allocator: ClusterIpAllocator): void {
  if (spec.type === 'ExternalName') return;
  const fail = (errors: readonly FieldError[]): void => {
    if (errors.length > 0) throw invalidStatus('', 'Service', name, errors);
  };
  const families = allocator.families as readonly string[];
  const unchangedDual =
    old !== undefined &&
    spec.ipFamilyPolicy === 'PreferDualStack' &&
    (old.ipFamilyPolicy === undefined || old.ipFamilyPolicy === 'PreferDualStack') &&
    old.type === spec.type &&
    same(spec.clusterIPs, old.clusterIPs) &&
    same(spec.ipFamilies, old.ipFamilies);
  if (unchangedDual) return;
  const headlessWithoutSelector = spec.clusterIP === 'None' && Object.keys(spec.selector ?? {}).length === 0;
  if (spec.ipFamilyPolicy === undefined) {
    if (old?.ipFamilyPolicy !== undefined) spec.ipFamilyPolicy = old.ipFamilyPolicy;
    else spec.ipFamilyPolicy = headlessWithoutSelector ? 'RequireDualStack' : 'SingleStack';
  }
  fail(validateClusterIpFields(spec, old));
  const errors: FieldError[] = [];
  const path = 'spec.ipFamilyPolicy';
  if (old !== undefined) {
    if (spec.ipFamilyPolicy === 'SingleStack') {
      if (same(spec.clusterIPs, old.clusterIPs) && (spec.clusterIPs ?? []).length > 1)
        spec.clusterIPs = spec.clusterIPs!.slice(0, 1);
      if (same(spec.ipFamilies, old.ipFamilies) && (spec.ipFamilies ?? []).length > 1)
        spec.ipFamilies = spec.ipFamilies!.slice(0, 1);
    } else {
      const reduced = (a: readonly unknown[] | undefined, b: readonly unknown[] | undefined): boolean =>
        (a ?? []).length > 0 && a!.length < (b ?? []).length;
      if (reduced(spec.clusterIPs, old.clusterIPs))
        errors.push(invalid(path, spec.ipFamilyPolicy, "must be 'SingleStack' to release the secondary cluster IP"));
      if (reduced(spec.ipFamilies, old.ipFamilies))
        errors.push(invalid(path, spec.ipFamilyPolicy, "must be 'SingleStack' to release the secondary IP family"));
    }
  }
  if (spec.ipFamilyPolicy === 'SingleStack') {
    const why = "must be 'RequireDualStack' or 'PreferDualStack' when multiple";
    if ((spec.clusterIPs ?? []).length === 2)
      errors.push(invalid(path, spec.ipFamilyPolicy, `${why} cluster IPs are specified`));
    if ((spec.ipFamilies ?? []).length === 2)
      errors.push(invalid(path, spec.ipFamilyPolicy, `${why} IP families are specified`));
  }
  const given = [...(spec.ipFamilies ?? [])] as string[];
  for (const [i, ip] of (spec.clusterIPs ?? []).entries()) {
    if (ip === 'None') break;
    if (i < given.length) continue;
    const family = familyOf(ip);
    if (families.includes(family)) given.push(family);
    else errors.push(invalid(`spec.clusterIPs[${i}]`, spec.clusterIPs, `${family} is not configured on this cluster`));
  }
  fail(errors);
  const other = (family: string | undefined): string => (family === 'IPv4' ? 'IPv6' : 'IPv4');
  if (headlessWithoutSelector) {
    if (given.length === 0) given.push(allocator.defaultFamily);
    if (given.length < 2 && spec.ipFamilyPolicy !== 'SingleStack') given.push(other(given[0]));
    spec.ipFamilies = given as Spec['ipFamilies'];
    return;
  }
  if (spec.ipFamilyPolicy === 'RequireDualStack' && families.length < 2)
    errors.push(invalid(path, spec.ipFamilyPolicy, 'this cluster is not configured for dual-stack services'));
  given.forEach((family, i) => {
    if (!families.includes(family))
      errors.push(invalid(`spec.ipFamilies[${i}]`, family, 'not configured on this cluster'));
  });
  fail(errors);
  if (given.length === 0) given.push(allocator.defaultFamily);
  if (spec.ipFamilyPolicy !== 'SingleStack' && given.length === 1 && families.length === 2) given.push(other(given[0]));
  spec.ipFamilies = given as Spec['ipFamilies'];
}

/** Members that every Service has today but those of the type ExternalName. */
const expected = ['"clusterIPs":', '"ipFamilies":', '"internalTrafficPolicy":'] as const;
const externalName = '"type":"ExternalName"';

/** The type ExternalName has no use for internalTrafficPolicy, which earlier releases gave it; it is taken and dropped. */
function withoutUnused(spec: Spec): Spec {
  if (spec.type !== 'ExternalName' || spec.internalTrafficPolicy === undefined) return { ...spec };
  const { internalTrafficPolicy: _, ...rest } = spec;
  return rest;
}

/** What was stored before there were several addresses and families, as it would be stored today. */
function asRead(object: KubeObject, allocator: ClusterIpAllocator): KubeObject {
  const spec = withoutUnused(specOf<ServiceSpec>(object));
  normalizeClusterIps(spec, undefined);
  if (needsClusterIp(spec) && (spec.clusterIPs ?? []).length > 0 && (spec.ipFamilies ?? []).length === 0) {
    const first = allocator.defaultFamily;
    if (spec.clusterIP !== 'None') spec.ipFamilies = spec.clusterIPs!.map(familyOf);
    // Nobody knows the families of endpoints that were given by hand.
    else if (Object.keys(spec.selector ?? {}).length > 0) spec.ipFamilies = [first];
    else spec.ipFamilies = first === 'IPv4' ? ['IPv4', 'IPv6'] : ['IPv6', 'IPv4'];
    spec.ipFamilyPolicy = spec.ipFamilies.length === 1 ? 'SingleStack' : 'RequireDualStack';
  }
  return { ...object, spec };
}

function portError(name: string, path: string, value: unknown, error: unknown): unknown {
  return error instanceof AllocationError
    ? invalidStatus('', 'Service', name, [invalid(path, value, error.message)])
    : error;
}

/** Node ports of a new Service: ports with one number share a node port over their protocols. */
function initNodePorts(name: string, spec: Spec, ports: PortOperation): void {
  const byPort = new Map<number, number>();
  const list = spec.ports ?? [];
  spec.ports = list.map((p, i): ServicePort => {
    if ((p.nodePort ?? 0) === 0 && !shouldAllocateNodePorts(spec)) return p;
    const take = (port: number): void => {
      try {
        ports.allocate(port);
      } catch (error) {
        throw portError(name, `spec.ports[${i}].nodePort`, port, error);
      }
    };
    const allocated = byPort.get(p.port) ?? 0;
    if (allocated === 0) {
      const asked = list.find((q) => q.port === p.port && (q.nodePort ?? 0) !== 0)?.nodePort ?? 0;
      let nodePort = asked;
      if (asked !== 0) take(asked);
      else nodePort = allocateNext(ports);
      byPort.set(p.port, nodePort);
      return { ...p, nodePort };
    }
    if (p.nodePort === allocated) return p;
    if ((p.nodePort ?? 0) === 0) return { ...p, nodePort: allocated };
    take(p.nodePort!);
    return p;
  });
}

function allocateNext(ports: PortOperation): number {
  try {
    return ports.allocateNext();
  } catch (error) {
    throw error instanceof AllocationError
      ? internalError(new Error(`failed to allocate a nodePort: ${error.message}`, { cause: error }))
      : error;
  }
}

function updateNodePorts(name: string, spec: Spec, old: Spec, ports: PortOperation): void {
  const before = new Set(nodePortsOf(old));
  const taken = new Set<number>();
  spec.ports = (spec.ports ?? []).map((p, i): ServicePort => {
    const nodePort = p.nodePort ?? 0;
    if (nodePort === 0) return shouldAllocateNodePorts(spec) ? { ...p, nodePort: allocateNext(ports) } : p;
    if (!before.has(nodePort) && !taken.has(nodePort)) {
      try {
        ports.allocate(nodePort);
      } catch (error) {
        throw portError(name, `spec.ports[${i}].nodePort`, nodePort, error);
      }
      taken.add(nodePort);
    }
    return p;
  });
}

function allocateHealthCheck(spec: Spec, ports: PortOperation): void {
  const asked = spec.healthCheckNodePort ?? 0;
  try {
    if (asked !== 0) ports.allocate(asked);
    else spec.healthCheckNodePort = ports.allocateNext();
  } catch (error) {
    if (!(error instanceof AllocationError)) throw error;
    throw internalError(
      new Error(
        asked === 0
          ? `failed to allocate a HealthCheck NodePort 0: ${error.message}`
          : `failed to allocate requested HealthCheck NodePort ${asked}: ${error.message}`,
        { cause: error },
      ),
    );
  }
}

export function serviceStrategies(deps: ServiceDeps, features: FeatureGates): ResourceStrategies {
  const { clusterIps, nodePorts, registries } = deps;

  /** Takes addresses for the families from `from` on; what was taken is given back when one fails. */
  const allocateIps = async (object: Draft, spec: Spec, from: number, dryRun: boolean): Promise<string[]> => {
    const { name = '', namespace = '' } = object.metadata;
    const service = { name, namespace };
    const ips = [...(spec.clusterIPs ?? [])];
    const taken: string[] = [];
    try {
      for (const [i, family] of (spec.ipFamilies ?? []).entries()) {
        if (i < from) continue;
        const asked = ips[i] ?? '';
        try {
          const ip =
            asked === ''
              ? await clusterIps.allocateNext(family as Family, service, dryRun)
              : await clusterIps.allocate(asked, service, dryRun);
          ips[i] = asked === '' ? ip : asked;
          if (!dryRun) taken.push(ip);
        } catch (error) {
          if (!(error instanceof AllocationError)) throw error;
          if (asked === '' && error.full)
            throw internalError(
              new Error(`failed to allocate a serviceIP for Service ${JSON.stringify(name)}: ${error.message}`, {
                cause: error,
              }),
            );
          const what = asked === '' ? 'failed to allocate IP' : `failed to allocate IP ${asked}`;
          throw invalidStatus('', 'Service', name, [
            invalid('spec.clusterIPs', spec.clusterIPs ?? [], `${what}: ${error.message}`),
          ]);
        }
      }
    } catch (error) {
      await releaseIps(taken);
      throw error;
    }
    spec.clusterIPs = ips;
    spec.clusterIP = ips[0]!;
    return taken;
  };

  const releaseIps = async (ips: readonly string[]): Promise<void> => {
    await Promise.all(ips.map((ip) => clusterIps.release(ip)));
  };

  const releasePorts = (ports: readonly number[]): Promise<void> =>
    ports.length === 0
      ? Promise.resolve()
      : nodePorts.run((op) => {
          for (const port of ports) op.release(port);
        });

  /** Runs port changes in one step; answers the ports that were taken. */
  const takePorts = async (change: (ports: PortOperation) => void, dryRun: boolean): Promise<number[]> =>
    nodePorts.run((op) => {
      const taken: number[] = [];
      change({
        allocate(port) {
          op.allocate(port);
          taken.push(port);
        },
        allocateNext() {
          const port = op.allocateNext();
          taken.push(port);
          return port;
        },
        release: (port) => op.release(port),
      });
      return taken;
    }, dryRun);

  return {
    main: {
      validateName: features.enabled('RelaxedServiceNameValidation') ? nameIsDNSLabel : nameIsDNS1035Label,
      allowCreateOnUpdate: true,
      resetFields: [['status']],
      prepareForCreate(_ctx, object) {
        delete object['status'];
        const spec = { ...(object['spec'] as Spec | undefined) };
        normalizeClusterIps(spec, undefined);
        initFamilies(object.metadata.name ?? '', spec, undefined, clusterIps);
        object['spec'] = spec;
      },
      prepareForUpdate(_ctx, object, old) {
        keepStatus(object, old);
        const spec = { ...(object['spec'] as Spec | undefined) };
        const before = specOf<ServiceSpec>(old);
        patchAllocated(spec, before);
        normalizeClusterIps(spec, before);
        dropTypeDependent(object, spec, before);
        initFamilies(object.metadata.name ?? '', spec, before, clusterIps);
        object['spec'] = spec;
      },
      validate: (_ctx, object) => validateService(object),
      validateUpdate: (_ctx, object, old) => validateServiceUpdate(object, old),
      warningsOnCreate: (_ctx, object) => serviceWarnings(object),
      warningsOnUpdate: (_ctx, object) => serviceWarnings(object),

      onRead: {
        dated: (json) => !expected.every((member) => json.includes(member)) || json.includes(externalName),
        complete: (object) => asRead(object, clusterIps),
      },

      async beginCreate(ctx, object) {
        const spec = withoutUnused(object['spec'] as Spec);
        const name = object.metadata.name ?? '';
        const headless = spec.clusterIPs?.[0] === 'None';
        const ips = needsClusterIp(spec) && !headless ? await allocateIps(object, spec, 0, ctx.dryRun) : [];
        let ports: number[] = [];
        if (needsNodePort(spec)) {
          const given = spec.ports;
          try {
            ports = await takePorts((op) => {
              spec.ports = given ?? [];
              initNodePorts(name, spec, op);
              if (needsHealthCheck(spec)) allocateHealthCheck(spec, op);
            }, ctx.dryRun);
          } catch (error) {
            await releaseIps(ips);
            throw error;
          }
        }
        object['spec'] = spec;
        return async (committed) => {
          if (committed || ctx.dryRun) return;
          await Promise.all([releaseIps(ips), releasePorts(ports)]);
        };
      },

      async beginUpdate(ctx, object, old) {
        const spec = withoutUnused(object['spec'] as Spec);
        const before = specOf<ServiceSpec>(old);
        const name = object.metadata.name ?? '';
        let ips: string[] = [];
        const freedIps: string[] = [];
        const oldHeadless = before.clusterIPs?.[0] === 'None';
        if (before.type === 'ExternalName' && spec.type !== 'ExternalName') {
          if (spec.clusterIPs?.[0] !== 'None') ips = await allocateIps(object, spec, 0, ctx.dryRun);
        } else if (!oldHeadless) {
          if (before.type !== 'ExternalName' && spec.type === 'ExternalName')
            freedIps.push(...(before.clusterIPs ?? []));
          else {
            const [was, is] = [(before.ipFamilies ?? []).length, (spec.ipFamilies ?? []).length];
            if (was === 1 && is === 2) ips = await allocateIps(object, spec, 1, ctx.dryRun);
            else if (was === 2 && is === 1 && before.clusterIPs?.[1] !== undefined) freedIps.push(before.clusterIPs[1]);
          }
        }
        const health = needsHealthCheck(spec) && !needsHealthCheck(before);
        let ports: number[] = [];
        if (needsNodePort(spec) || health) {
          const given = spec.ports;
          try {
            const wantsPorts =
              needsNodePort(spec) &&
              (given ?? []).some((p) => (p.nodePort ?? 0) === 0 || !nodePortsOf(before).includes(p.nodePort!));
            if (wantsPorts || health)
              ports = await takePorts((op) => {
                spec.ports = given ?? [];
                if (needsNodePort(spec)) updateNodePorts(name, spec, before, op);
                if (health) allocateHealthCheck(spec, op);
              }, ctx.dryRun);
          } catch (error) {
            await releaseIps(ips);
            throw error;
          }
        }
        const now = new Set(nodePortsOf(spec));
        const freedPorts = nodePortsOf(before).filter((p) => !now.has(p));
        if (needsHealthCheck(before) && !needsHealthCheck(spec) && (before.healthCheckNodePort ?? 0) !== 0)
          freedPorts.push(before.healthCheckNodePort!);
        object['spec'] = spec;
        return async (committed) => {
          if (ctx.dryRun) return;
          if (committed) await Promise.all([releaseIps(freedIps), releasePorts(freedPorts)]);
          else await Promise.all([releaseIps(ips), releasePorts(ports)]);
        };
      },

      async afterDelete(_ctx, object) {
        const spec = specOf<ServiceSpec>(object);
        const ports = nodePortsOf(spec);
        if (needsHealthCheck(spec) && (spec.healthCheckNodePort ?? 0) !== 0) ports.push(spec.healthCheckNodePort!);
        const ips = (spec.clusterIPs ?? []).filter((ip) => ip !== 'None' && ip !== '');
        await Promise.all([
          spec.type === 'ExternalName' ? undefined : releaseIps(ips),
          releasePorts(ports),
          deleteEndpoints(registries, object),
        ]);
      },
    },
    subresources: {
      status: statusStrategy({ validateUpdate: (object, old) => validateServiceStatusUpdate(object, old) }),
    },
  };
}

/** A Service's Endpoints go with it, so that a new Service of that name does not find old ones. */
async function deleteEndpoints(registries: Registries, object: KubeObject): Promise<void> {
  const registry = registries.registry('', 'endpoints');
  const { name = '', namespace = '' } = object.metadata;
  if (registry === undefined || registries.cachedGet('', 'endpoints', namespace, name) === undefined) return;
  await deleteIfPresent(registry, namespace, name);
}
