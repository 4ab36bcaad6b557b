/** Validation of Service (its addresses and ports are allocated afterwards). */
import { duplicate, forbiddenField, invalid, notSupported, required, type FieldError } from '../../api/field-error.ts';
import { isDNS1123Subdomain, isValidPortNum } from '../../api/names.ts';
import type { KubeObject } from '../../api/object.ts';
import { validateLabels } from '../../api/selector.ts';
import type { LoadBalancerStatus, ServicePort, ServiceSpec, ServiceStatus } from '../../api/types/core-v1.gen.ts';
import {
  invalidEach,
  specOf,
  statusOf,
  validateDnsLabel,
  validateDnsSubdomain,
  validateEnum,
  validatePortOrName,
  validateQualifiedName,
  validateRequiredEnum,
} from './field.ts';
import { internalForm } from './internal-form.ts';
import { cidrWarnings, ipWarnings, isIpv6, validateCidr, validateEndpointIp, validateIp } from './ip.ts';

type Spec = Partial<ServiceSpec>;

const topologyHints = 'service.kubernetes.io/topology-aware-hints';
const topologyMode = 'service.kubernetes.io/topology-mode';
const sourceRangesAnnotation = 'service.beta.kubernetes.io/load-balancer-source-ranges';
const maxAffinitySeconds = 86400;

export function isHeadless(spec: Spec): boolean {
  return spec.clusterIPs?.length === 1 && spec.clusterIPs[0] === 'None';
}

export function isExternallyAccessible(spec: Spec): boolean {
  return (
    spec.type === 'LoadBalancer' ||
    spec.type === 'NodePort' ||
    (spec.type === 'ClusterIP' && (spec.externalIPs ?? []).length > 0)
  );
}

export function needsHealthCheck(spec: Spec): boolean {
  return spec.type === 'LoadBalancer' && spec.externalTrafficPolicy === 'Local';
}

/** clusterIP, clusterIPs, ipFamilies and ipFamilyPolicy among each other. */
export function validateClusterIpFields(spec: Spec, old: Spec | undefined): FieldError[] {
  if (spec.type === 'ExternalName') return [];
  const errors: FieldError[] = [];
  const path = 'spec.clusterIPs';
  const ips = spec.clusterIPs ?? [];
  if ((spec.clusterIP ?? '') !== '') {
    if (ips.length === 0) errors.push(required(path));
    else if (ips[0] !== spec.clusterIP) errors.push(invalid(path, ips, 'first value must match `clusterIP`'));
  } else if (ips.length > 0) errors.push(invalid(path, ips, 'must be empty when `clusterIP` is not specified'));
  const seen = new Set<string>();
  (spec.ipFamilies ?? []).forEach((family, i) => {
    if (family !== 'IPv4' && family !== 'IPv6')
      errors.push(notSupported(`spec.ipFamilies[${i}]`, family, ['IPv4', 'IPv6']));
    if (seen.has(family)) errors.push(duplicate(`spec.ipFamilies[${i}]`, family));
    seen.add(family);
  });
  errors.push(
    ...validateEnum(spec.ipFamilyPolicy, ['PreferDualStack', 'RequireDualStack', 'SingleStack'], 'spec.ipFamilyPolicy'),
  );
  let bad = false;
  ips.forEach((ip, i) => {
    if (i === 0 && ip === 'None') {
      if (ips.length > 1) {
        bad = true;
        errors.push(invalid(path, ips, "'None' must be the first and only value"));
      }
      return;
    }
    const found = validateIp(ip, `${path}[${i}]`, old?.clusterIPs ?? []);
    if (found.length > 0) bad = true;
    errors.push(...found);
  });
  if (ips.length > 2) errors.push(invalid(path, ips, 'may only hold up to 2 values'));
  if (bad) return errors;
  if (ips.length > 1 && ips.every((ip) => isIpv6(ip) === isIpv6(ips[0]!)))
    errors.push(invalid(path, ips, 'may specify no more than one IP for each IP family'));
  if (!isHeadless(spec))
    ips.forEach((ip, i) => {
      const family = spec.ipFamilies?.[i];
      if (family === 'IPv4' && isIpv6(ip))
        errors.push(invalid(`${path}[${i}]`, ip, `expected an IPv4 value as indicated by \`ipFamilies[${i}]\``));
      if (family === 'IPv6' && !isIpv6(ip))
        errors.push(invalid(`${path}[${i}]`, ip, `expected an IPv6 value as indicated by \`ipFamilies[${i}]\``));
    });
  return errors;
}

function validatePort(port: ServicePort, requireName: boolean, names: Set<string>, path: string): FieldError[] {
  const errors: FieldError[] = [];
  const { name = '' } = port;
  if (requireName && name === '') errors.push(required(`${path}.name`));
  else if (name !== '') {
    errors.push(...validateDnsLabel(name, `${path}.name`));
    if (names.has(name)) errors.push(duplicate(`${path}.name`, name));
    names.add(name);
  }
  errors.push(...invalidEach(`${path}.port`, port.port, isValidPortNum(port.port)));
  errors.push(...validateRequiredEnum(port.protocol, ['SCTP', 'TCP', 'UDP'], `${path}.protocol`));
  errors.push(...validatePortOrName(port.targetPort, `${path}.targetPort`));
  if (port.appProtocol !== undefined) errors.push(...validateQualifiedName(port.appProtocol, `${path}.appProtocol`));
  return errors;
}

function validatePorts(spec: Spec): FieldError[] {
  const errors: FieldError[] = [];
  const ports = spec.ports ?? [];
  const names = new Set<string>();
  ports.forEach((p, i) => errors.push(...validatePort(p, ports.length > 1, names, `spec.ports[${i}]`)));
  return errors;
}

/** Ports against each other. */
function validatePortSet(spec: Spec): FieldError[] {
  const errors: FieldError[] = [];
  const ports = spec.ports ?? [];
  if (spec.type === 'ClusterIP')
    ports.forEach((p, i) => {
      if ((p.nodePort ?? 0) !== 0)
        errors.push(forbiddenField(`spec.ports[${i}].nodePort`, "may not be used when `type` is 'ClusterIP'"));
    });
  const nodePorts = new Set<string>();
  ports.forEach((p, i) => {
    if ((p.nodePort ?? 0) === 0) return;
    const key = `${p.protocol}/${p.nodePort}`;
    if (nodePorts.has(key)) errors.push(duplicate(`spec.ports[${i}].nodePort`, p.nodePort));
    nodePorts.add(key);
  });
  const seen = new Set<string>();
  ports.forEach((p, i) => {
    const key = `${p.protocol}/${p.port}`;
    if (seen.has(key))
      errors.push(
        duplicate(`spec.ports[${i}]`, internalForm('core.ServicePort', { protocol: p.protocol, port: p.port })),
      );
    seen.add(key);
  });
  return errors;
}

function validateSessionAffinity(spec: Spec): FieldError[] {
  const errors = validateRequiredEnum(spec.sessionAffinity, ['ClientIP', 'None'], 'spec.sessionAffinity');
  const path = 'spec.sessionAffinityConfig';
  const config = spec.sessionAffinityConfig;
  if (spec.sessionAffinity === 'ClientIP') {
    const why = 'when session affinity type is ClientIP';
    if (config === undefined) errors.push(required(path, why));
    else if (config.clientIP === undefined) errors.push(required(`${path}.clientIP`, why));
    else if (config.clientIP.timeoutSeconds === undefined)
      errors.push(required(`${path}.clientIP.timeoutSeconds`, why));
    else if (config.clientIP.timeoutSeconds <= 0 || config.clientIP.timeoutSeconds > maxAffinitySeconds)
      errors.push(
        invalid(
          `${path}.clientIP.timeoutSeconds`,
          config.clientIP.timeoutSeconds,
          `must be greater than 0 and less than ${maxAffinitySeconds}`,
        ),
      );
  } else if (spec.sessionAffinity === 'None' && config !== undefined)
    errors.push(forbiddenField(path, 'must not be set when session affinity is None'));
  return errors;
}

function validateSourceRanges(object: KubeObject, spec: Spec, old: KubeObject | undefined): FieldError[] {
  const errors: FieldError[] = [];
  const ranges = spec.loadBalancerSourceRanges ?? [];
  const onlyLoadBalancer = "may only be used when `type` is 'LoadBalancer'";
  const annotation = object.metadata.annotations?.[sourceRangesAnnotation];
  if (ranges.length > 0) {
    const path = 'spec.LoadBalancerSourceRanges';
    if (spec.type !== 'LoadBalancer') errors.push(forbiddenField(path, onlyLoadBalancer));
    const before = old === undefined ? [] : (specOf<ServiceSpec>(old).loadBalancerSourceRanges ?? []);
    const existing = before.map((r) => r.trim());
    ranges.forEach((r, i) => errors.push(...validateCidr(r.trim(), `${path}[${i}]`, existing)));
  } else if (annotation !== undefined) {
    const path = `metadata.annotations[${sourceRangesAnnotation}]`;
    if (spec.type !== 'LoadBalancer') errors.push(forbiddenField(path, onlyLoadBalancer));
    if (old?.metadata.annotations?.[sourceRangesAnnotation] !== annotation && annotation.trim() !== '')
      for (const r of annotation.trim().split(',')) errors.push(...validateCidr(r.trim(), path));
  }
  return errors;
}

function validateLoadBalancerClass(spec: Spec, old: Spec | undefined): FieldError[] {
  const path = 'spec.loadBalancerClass';
  const value = spec.loadBalancerClass;
  const errors: FieldError[] = [];
  if (old?.type === 'LoadBalancer' && spec.type === 'LoadBalancer' && old.loadBalancerClass !== value)
    errors.push(invalid(path, value ?? null, 'may not change once set'));
  if (value !== undefined) {
    if (spec.type === 'LoadBalancer') errors.push(...validateQualifiedName(value, path));
    else errors.push(forbiddenField(path, "may only be used when `type` is 'LoadBalancer'"));
  }
  return errors;
}

function validateTrafficPolicies(spec: Spec): FieldError[] {
  const errors: FieldError[] = [];
  const path = 'spec.externalTrafficPolicy';
  if (!isExternallyAccessible(spec)) {
    if ((spec.externalTrafficPolicy ?? '') !== '')
      errors.push(invalid(path, spec.externalTrafficPolicy, 'may only be set for externally-accessible services'));
  } else errors.push(...validateRequiredEnum(spec.externalTrafficPolicy, ['Cluster', 'Local'], path));
  const port = spec.healthCheckNodePort ?? 0;
  if (port !== 0) {
    if (!needsHealthCheck(spec))
      errors.push(
        invalid(
          'spec.healthCheckNodePort',
          port,
          "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
        ),
      );
    else errors.push(...invalidEach('spec.healthCheckNodePort', port, isValidPortNum(port)));
  }
  if (spec.internalTrafficPolicy === undefined) {
    if (spec.type === 'NodePort' || spec.type === 'LoadBalancer' || spec.type === 'ClusterIP')
      errors.push(required('spec.internalTrafficPolicy'));
  } else errors.push(...validateEnum(spec.internalTrafficPolicy, ['Cluster', 'Local'], 'spec.internalTrafficPolicy'));
  errors.push(
    ...validateEnum(
      spec.trafficDistribution,
      ['PreferClose', 'PreferSameZone', 'PreferSameNode'],
      'spec.trafficDistribution',
    ),
  );
  return errors;
}

export function validateService(object: KubeObject, old?: KubeObject): FieldError[] {
  const spec = specOf<ServiceSpec>(object);
  const before = old === undefined ? undefined : specOf<ServiceSpec>(old);
  const errors: FieldError[] = [];
  const hints = object.metadata.annotations?.[topologyHints];
  const mode = object.metadata.annotations?.[topologyMode];
  if (hints !== undefined && mode !== undefined && hints !== mode)
    errors.push(
      invalid(
        `metadata.annotations[${topologyMode}]`,
        mode,
        `must match annotations[${topologyHints}] when both are specified`,
      ),
    );
  if ((spec.ports ?? []).length === 0 && !isHeadless(spec) && spec.type !== 'ExternalName')
    errors.push(required('spec.ports'));
  if ((spec.type === 'LoadBalancer' || spec.type === 'NodePort') && isHeadless(spec))
    errors.push(invalid('spec.clusterIPs[0]', 'None', `may not be set to 'None' for ${spec.type} services`));
  if (spec.type === 'ExternalName') {
    const why = 'may not be set for ExternalName services';
    if ((spec.clusterIPs ?? []).length > 0) errors.push(forbiddenField('spec.clusterIPs', why));
    if ((spec.ipFamilies ?? []).length > 0) errors.push(forbiddenField('spec.ipFamilies', why));
    if (spec.ipFamilyPolicy !== undefined) errors.push(forbiddenField('spec.ipFamilyPolicy', why));
    const name = (spec.externalName ?? '').replace(/\.$/, '');
    errors.push(...(name === '' ? [required('spec.externalName')] : validateDnsSubdomain(name, 'spec.externalName')));
  }
  errors.push(...validatePorts(spec));
  errors.push(...validateLabels(spec.selector, 'spec.selector'));
  errors.push(...validateSessionAffinity(spec));
  errors.push(...validateClusterIpFields(spec, before));
  (spec.externalIPs ?? []).forEach((ip, i) => {
    const path = `spec.externalIPs[${i}]`;
    const found = validateIp(ip, path, before?.externalIPs ?? []);
    errors.push(...(found.length > 0 ? found : validateEndpointIp(ip, path)));
  });
  errors.push(
    ...validateRequiredEnum(spec.type, ['ClusterIP', 'ExternalName', 'LoadBalancer', 'NodePort'], 'spec.type'),
  );
  errors.push(...validatePortSet(spec));
  errors.push(...validateSourceRanges(object, spec, old));
  if (spec.allocateLoadBalancerNodePorts !== undefined && spec.type !== 'LoadBalancer')
    errors.push(forbiddenField('spec.allocateLoadBalancerNodePorts', "may only be used when `type` is 'LoadBalancer'"));
  if (spec.type === 'LoadBalancer' && spec.allocateLoadBalancerNodePorts === undefined)
    errors.push(required('allocateLoadBalancerNodePorts'));
  errors.push(...validateLoadBalancerClass(spec, undefined));
  errors.push(...validateTrafficPolicies(spec));
  return errors;
}

function clusterIpsUnchanged(spec: Spec, old: Spec): FieldError[] {
  if (spec.type === 'ExternalName' || old.type === 'ExternalName') return [];
  if (isHeadless(spec) && isHeadless(old)) return [];
  const [ips, before] = [spec.clusterIPs ?? [], old.clusterIPs ?? []];
  const fixed = 'may not change once set';
  const errors: FieldError[] = [];
  if (before.length === ips.length)
    before.forEach((ip, i) => {
      if (ip !== ips[i]) errors.push(invalid(`spec.clusterIPs[${i}]`, ips, fixed));
    });
  else if (before.length > ips.length) {
    if (ips.length === 0) errors.push(invalid('spec.clusterIPs[0]', ips, 'primary clusterIP can not be unset'));
    if (ips.length > 0 && ips[0] !== before[0]) errors.push(invalid('spec.clusterIPs[0]', ips, fixed));
    if (ips.length === 1 && spec.ipFamilyPolicy !== 'SingleStack')
      errors.push(
        invalid(
          'spec.ipFamilyPolicy',
          spec.ipFamilyPolicy ?? null,
          "must be set to 'SingleStack' when releasing the secondary clusterIP",
        ),
      );
  } else if (before.length > 0 && ips[0] !== before[0]) errors.push(invalid('spec.clusterIPs[0]', ips, fixed));
  return errors;
}

function ipFamiliesUnchanged(spec: Spec, old: Spec): FieldError[] {
  if (spec.type === 'ExternalName' || old.type === 'ExternalName') return [];
  if (isHeadless(spec) !== isHeadless(old) || isHeadless(spec)) return [];
  const [families, before] = [spec.ipFamilies ?? [], old.ipFamilies ?? []];
  const fixed = 'may not change once set';
  const path = 'spec.ipFamilies[0]';
  const errors: FieldError[] = [];
  if (before.length === families.length)
    before.forEach((f, i) => {
      if (f !== families[i]) errors.push(invalid(path, families, fixed));
    });
  else if (before.length > families.length) {
    if ((spec.clusterIPs ?? []).length === 0) errors.push(invalid(path, families, 'primary ipFamily can not be unset'));
    if (families.length > 0 && families[0] !== before[0]) errors.push(invalid(path, spec.clusterIPs ?? [], fixed));
    if (families.length === 1 && spec.ipFamilyPolicy !== 'SingleStack')
      errors.push(
        invalid(
          'spec.ipFamilyPolicy',
          spec.ipFamilyPolicy ?? null,
          "must be set to 'SingleStack' when releasing the secondary ipFamily",
        ),
      );
  } else if (before.length > 0 && families.length > 0 && families[0] !== before[0])
    errors.push(invalid(path, spec.clusterIPs ?? [], fixed));
  return errors;
}

export function validateServiceUpdate(object: KubeObject, old: KubeObject): FieldError[] {
  const spec = specOf<ServiceSpec>(object);
  const before = specOf<ServiceSpec>(old);
  const errors = [...clusterIpsUnchanged(spec, before), ...ipFamiliesUnchanged(spec, before)];
  errors.push(...validateLoadBalancerClass(spec, before));
  if (needsHealthCheck(spec) && needsHealthCheck(before) && spec.healthCheckNodePort !== before.healthCheckNodePort)
    errors.push(forbiddenField('spec.healthCheckNodePort', 'field is immutable'));
  return [...errors, ...validateService(object, old)];
}

export function validateLoadBalancerStatus(
  status: LoadBalancerStatus | undefined,
  old: LoadBalancerStatus | undefined,
  isLoadBalancer: boolean,
): FieldError[] {
  const path = 'status.loadBalancer.ingress';
  const ingress = status?.ingress ?? [];
  if (!isLoadBalancer && ingress.length > 0)
    return [forbiddenField(path, "may only be used when `spec.type` is 'LoadBalancer'")];
  const existing = (old?.ingress ?? []).map((i) => i.ip ?? '');
  return ingress.flatMap((entry, i) => {
    const at = `${path}[${i}]`;
    const errors: FieldError[] = [];
    const { ip = '', hostname = '', ipMode } = entry;
    if (ip !== '') errors.push(...validateIp(ip, `${at}.ip`, existing));
    if (ipMode === undefined) {
      if (ip !== '') errors.push(required(`${at}.ipMode`, 'must be specified when `ip` is set'));
    } else if (ip === '') errors.push(forbiddenField(`${at}.ipMode`, 'may not be specified when `ip` is not set'));
    else errors.push(...validateEnum(ipMode, ['Proxy', 'VIP'], `${at}.ipMode`));
    if (hostname !== '') {
      errors.push(...invalidEach(`${at}.hostname`, hostname, isDNS1123Subdomain(hostname)));
      if (validateIp(hostname, '').length === 0)
        errors.push(invalid(`${at}.hostname`, hostname, 'must be a DNS name, not an IP address'));
    }
    return errors;
  });
}

export function validateServiceStatusUpdate(object: KubeObject, old: KubeObject): FieldError[] {
  return validateLoadBalancerStatus(
    statusOf<ServiceStatus>(object).loadBalancer,
    statusOf<ServiceStatus>(old).loadBalancer,
    specOf<ServiceSpec>(object).type === 'LoadBalancer',
  );
}

export function serviceWarnings(object: KubeObject): string[] {
  const spec = specOf<ServiceSpec>(object);
  const out: string[] = [];
  if (object.metadata.annotations?.[topologyHints] !== undefined)
    out.push(`annotation ${topologyHints} is deprecated, please use ${topologyMode} instead`);
  const headless = spec.type === 'ClusterIP' && spec.clusterIP === 'None';
  if ((spec.clusterIP ?? '') !== '' && spec.clusterIP !== 'None')
    (spec.clusterIPs ?? []).forEach((ip, i) => out.push(...ipWarnings(ip, `spec.clusterIPs[${i}]`)));
  const externalIPs = spec.externalIPs ?? [];
  if (headless) {
    if ((spec.loadBalancerIP ?? '') !== '') out.push('spec.loadBalancerIP is ignored for headless services');
    if (externalIPs.length > 0) out.push('spec.externalIPs is ignored for headless services');
    if (spec.sessionAffinity !== 'None') out.push('spec.SessionAffinity is ignored for headless services');
  }
  externalIPs.forEach((ip, i) => out.push(...ipWarnings(ip, `spec.externalIPs[${i}]`)));
  if (externalIPs.length > 0 && !headless && spec.type !== 'ExternalName')
    out.push('spec.externalIPs is deprecated and may no longer be implemented in some clusters');
  if ((spec.loadBalancerIP ?? '') !== '') out.push(...ipWarnings(spec.loadBalancerIP!, 'spec.loadBalancerIP'));
  (spec.loadBalancerSourceRanges ?? []).forEach((r, i) =>
    out.push(...cidrWarnings(r, `spec.loadBalancerSourceRanges[${i}]`)),
  );
  if (spec.type === 'ExternalName' && externalIPs.length > 0)
    out.push('spec.externalIPs is ignored when spec.type is "ExternalName"');
  if (spec.type !== 'ExternalName' && (spec.externalName ?? '') !== '')
    out.push('spec.externalName is ignored when spec.type is not "ExternalName"');
  if (spec.trafficDistribution === 'PreferClose')
    out.push('spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone"');
  return out;
}
