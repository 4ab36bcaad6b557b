/** Validation of Ingress and IngressClass. */
import { forbiddenField, invalid, notSupported, required, tooLong, type FieldError } from '../../api/field-error.ts';
import {
  byteLength,
  isDNS1123Label,
  isDNS1123Subdomain,
  isPathSegmentName,
  isValidPortName,
  isValidPortNum,
  isWildcardDNS1123Subdomain,
  regexError,
} from '../../api/names.ts';
import type { KubeObject } from '../../api/object.ts';
import type {
  HTTPIngressPath,
  IngressBackend,
  IngressClassParametersReference,
  IngressClassSpec,
  IngressRule,
  IngressServiceBackend,
  IngressSpec,
  IngressStatus,
} from '../../api/types/networking-v1.gen.ts';
import type { TypedLocalObjectReference } from '../../api/types/core-v1.gen.ts';
import { invalidEach, specOf, statusOf, validateImmutable } from './field.ts';
import { ipWarnings, isIp, validateIp } from './ip.ts';

export const ingressClassAnnotation = 'kubernetes.io/ingress.class';
const badSequences = ['//', '/./', '/../', '%2f', '%2F'];
const badEndings = ['/..', '/.'];

function validateSegment(value: string | undefined, path: string): FieldError[] {
  return (value ?? '') === '' ? [required(path)] : invalidEach(path, value, isPathSegmentName(value!));
}

function validateReference(
  ref: Pick<TypedLocalObjectReference, 'apiGroup' | 'kind' | 'name'>,
  path: string,
): FieldError[] {
  return [
    ...(ref.apiGroup === undefined || ref.apiGroup === null
      ? []
      : invalidEach(`${path}.apiGroup`, ref.apiGroup, isDNS1123Subdomain(ref.apiGroup))),
    ...validateSegment(ref.kind, `${path}.kind`),
    ...validateSegment(ref.name, `${path}.name`),
  ];
}

function validateServiceBackend(service: IngressServiceBackend, path: string): FieldError[] {
  const { name } = service;
  const errors =
    (name ?? '') === ''
      ? [required(`${path}.service.name`)]
      : invalidEach(`${path}.service.name`, name, isDNS1123Label(name));
  const portName = service.port?.name ?? '';
  const number = service.port?.number ?? 0;
  if (portName !== '' && number !== 0) errors.push(invalid(path, '', 'cannot set both port name & port number'));
  else if (portName !== '')
    errors.push(...invalidEach(`${path}.service.port.name`, portName, isValidPortName(portName)));
  else if (number !== 0) errors.push(...invalidEach(`${path}.service.port.number`, number, isValidPortNum(number)));
  else errors.push(required(path, 'port name or number is required'));
  return errors;
}

function validateBackend(backend: IngressBackend | undefined, path: string): FieldError[] {
  const resource = backend?.resource;
  const service = backend?.service;
  if (resource !== undefined && service !== undefined)
    return [invalid(path, '', 'cannot set both resource and service backends')];
  if (resource !== undefined) return validateReference(resource, `${path}.resource`);
  if (service !== undefined) return validateServiceBackend(service, path);
  return [invalid(path, '', 'resource or service backend is required')];
}

function validatePath(given: HTTPIngressPath, path: string): FieldError[] {
  const { pathType, backend } = given;
  const at = `${path}.path`;
  const text = given.path ?? '';
  const errors: FieldError[] = [];
  const relative = invalid(at, text, 'must be an absolute path');
  switch (pathType as string | undefined) {
    case undefined:
      return [required(`${path}.pathType`, 'pathType must be specified')];
    case 'Exact':
    case 'Prefix':
      if (!text.startsWith('/')) errors.push(relative);
      for (const s of badSequences) if (text.includes(s)) errors.push(invalid(at, text, `must not contain '${s}'`));
      for (const s of badEndings) if (text.endsWith(s)) errors.push(invalid(at, text, `cannot end with '${s}'`));
      break;
    case 'ImplementationSpecific':
      if (text !== '' && !text.startsWith('/')) errors.push(relative);
      break;
    default:
      errors.push(notSupported(`${path}.pathType`, pathType, ['Exact', 'ImplementationSpecific', 'Prefix']));
  }
  return [...errors, ...validateBackend(backend, `${path}.backend`)];
}

function validateRuleValue(rule: IngressRule, path: string): FieldError[] {
  if (rule.http === undefined) return [];
  const list = `${path}.http.paths`;
  const paths = rule.http.paths ?? [];
  return [
    ...(paths.length === 0 ? [required(list)] : []),
    ...paths.flatMap((p, i) => validatePath(p, `${list}[${i}]`)),
  ];
}

function validateHost(host: string, path: string): FieldError[] {
  return invalidEach(path, host, host.includes('*') ? isWildcardDNS1123Subdomain(host) : isDNS1123Subdomain(host));
}

/** What an older server let pass, and may stay. */
interface Allowed {
  readonly secretNames: boolean;
  readonly wildcardRules: boolean;
}

function validateSpec(spec: Partial<IngressSpec>, allowed: Allowed): FieldError[] {
  const { defaultBackend, rules = [], tls = [], ingressClassName } = spec;
  const errors: FieldError[] = [];
  if (rules.length === 0 && defaultBackend === undefined)
    errors.push(invalid('spec', spec.rules ?? null, 'either `defaultBackend` or `rules` must be specified'));
  if (defaultBackend !== undefined) errors.push(...validateBackend(defaultBackend, 'spec.defaultBackend'));
  rules.forEach((rule, i) => {
    const path = `spec.rules[${i}]`;
    const { host = '' } = rule;
    if (host !== '') {
      if (isIp(host)) errors.push(invalid(`${path}.host`, host, 'must be a DNS name, not an IP address'));
      errors.push(...validateHost(host, `${path}.host`));
    }
    if (!host.includes('*') || !allowed.wildcardRules) errors.push(...validateRuleValue(rule, path));
  });
  tls.forEach((entry, i) => {
    const path = `spec.tls[${i}]`;
    (entry.hosts ?? []).forEach((host, j) => errors.push(...validateHost(host, `${path}.hosts[${j}]`)));
    const { secretName = '' } = entry;
    if (!allowed.secretNames && secretName !== '')
      errors.push(...invalidEach(`${path}.secretName`, secretName, isDNS1123Subdomain(secretName)));
  });
  if (ingressClassName !== undefined)
    errors.push(...invalidEach('spec.ingressClassName', ingressClassName, isDNS1123Subdomain(ingressClassName)));
  return errors;
}

export function validateIngress(object: KubeObject): FieldError[] {
  const spec = specOf<IngressSpec>(object);
  const errors = validateSpec(spec, { secretNames: false, wildcardRules: false });
  const annotation = object.metadata.annotations?.[ingressClassAnnotation];
  if (annotation !== undefined && spec.ingressClassName !== undefined && annotation !== spec.ingressClassName)
    errors.push(
      invalid(
        `annotations.${ingressClassAnnotation}`,
        annotation,
        'must match `ingressClassName` when both are specified',
      ),
    );
  return errors;
}

export function validateIngressUpdate(object: KubeObject, old: KubeObject): FieldError[] {
  const { tls = [], rules = [] } = specOf<IngressSpec>(old);
  return validateSpec(specOf<IngressSpec>(object), {
    secretNames: tls.some(({ secretName = '' }) => secretName !== '' && isDNS1123Subdomain(secretName).length > 0),
    wildcardRules: rules.some((rule) => (rule.host ?? '').includes('*') && validateRuleValue(rule, '').length > 0),
  });
}

export function validateIngressStatusUpdate(object: KubeObject, old: KubeObject): FieldError[] {
  const entries = statusOf<IngressStatus>(object).loadBalancer?.ingress ?? [];
  const before = (statusOf<IngressStatus>(old).loadBalancer?.ingress ?? []).flatMap(({ ip }) => ip ?? []);
  return entries.flatMap(({ ip = '', hostname = '' }, i) => {
    const path = `status.loadBalancer.ingress[${i}]`;
    const errors = ip === '' ? [] : validateIp(ip, `${path}.ip`, before);
    if (hostname === '') return errors;
    errors.push(...invalidEach(`${path}.hostname`, hostname, isDNS1123Subdomain(hostname)));
    if (isIp(hostname)) errors.push(invalid(`${path}.hostname`, hostname, 'must be a DNS name, not an IP address'));
    return errors;
  });
}

export function ingressStatusWarnings(object: KubeObject): string[] {
  return (statusOf<IngressStatus>(object).loadBalancer?.ingress ?? []).flatMap(({ ip = '' }, i) =>
    ip === '' ? [] : ipWarnings(ip, `status.loadBalancer.ingress[${i}]`),
  );
}

export function ingressWarnings(object: KubeObject, old: KubeObject | undefined): string[] {
  const annotated = object.metadata.annotations?.[ingressClassAnnotation] !== undefined;
  return old === undefined && annotated && specOf<IngressSpec>(object).ingressClassName === undefined
    ? [`annotation "${ingressClassAnnotation}" is deprecated, please use 'spec.ingressClassName' instead`]
    : [];
}

const httpPath = "[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+";
const httpPathForm = new RegExp(`^${httpPath}$`);

function validateDomainPrefixedPath(text: string, path: string): FieldError[] {
  if (text === '') return [required(path)];
  const slash = text.indexOf('/');
  if (slash <= 0 || slash === text.length - 1)
    return [invalid(path, text, 'must be a domain-prefixed path (such as "acme.io/foo")')];
  const host = text.slice(0, slash);
  const rest = text.slice(slash + 1);
  const errors = invalidEach(path, host, isDNS1123Subdomain(host));
  if (!httpPathForm.test(rest)) errors.push(invalid(path, rest, regexError('Invalid path', httpPath)));
  return errors;
}

function validateParameters(parameters: IngressClassParametersReference, path: string): FieldError[] {
  const { scope, namespace } = parameters;
  const errors = validateReference(parameters, path);
  if (scope === undefined) return [...errors, required(`${path}.scope`)];
  if (scope !== 'Cluster' && scope !== 'Namespace')
    errors.push(notSupported(`${path}.scope`, scope, ['Cluster', 'Namespace']));
  if (scope === 'Namespace') {
    if (namespace === undefined) errors.push(required(`${path}.namespace`, "`parameters.scope` is set to 'Namespace'"));
    else errors.push(...invalidEach(`${path}.namespace`, namespace, isDNS1123Label(namespace)));
  }
  if (scope === 'Cluster' && namespace !== undefined)
    errors.push(forbiddenField(`${path}.namespace`, "`parameters.scope` is set to 'Cluster'"));
  return errors;
}

export function validateIngressClass(object: KubeObject): FieldError[] {
  const { controller = '', parameters } = specOf<IngressClassSpec>(object);
  return [
    ...(byteLength(controller) > 250 ? [tooLong('spec.controller', 250)] : []),
    ...validateDomainPrefixedPath(controller, 'spec.controller'),
    ...(parameters === undefined ? [] : validateParameters(parameters, 'spec.parameters')),
  ];
}

export function validateIngressClassUpdate(object: KubeObject, old: KubeObject): FieldError[] {
  const { controller = '' } = specOf<IngressClassSpec>(object);
  return [
    ...validateImmutable(controller, specOf<IngressClassSpec>(old).controller ?? '', 'spec.controller'),
    ...validateIngressClass(object),
  ];
}
