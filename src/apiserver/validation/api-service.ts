/** Validation of APIService. */
import { invalid, notSupported, required, type FieldError } from '../../api/field-error.ts';
import { isDNS1035Label, isDNS1123Subdomain, isPathSegmentName, isValidPortNum } from '../../api/names.ts';
import type { KubeObject } from '../../api/object.ts';
import type { APIServiceSpec, APIServiceStatus } from '../../api/types/apiregistration-v1.gen.ts';
import { invalidEach, specOf, statusOf } from './field.ts';

/** An APIService is named `version.group`; that it may be a part of a path is checked before. */
function validateName(name: string, spec: Partial<APIServiceSpec>, path: string): FieldError[] {
  const wanted = `${spec.version ?? ''}.${spec.group ?? ''}`;
  return name === '' || name === wanted || isPathSegmentName(name).length > 0
    ? []
    : [invalid(path, name, `must be \`spec.version+"."+spec.group\`: ${JSON.stringify(wanted)}`)];
}

export function validateApiService(object: KubeObject): FieldError[] {
  const spec = specOf<APIServiceSpec>(object);
  const { group = '', version = '', groupPriorityMinimum = 0, versionPriority = 0, service, caBundle } = spec;
  const insecure = spec.insecureSkipTLSVerify === true;
  const { metadata } = object;
  const errors = [
    ...validateName(metadata.generateName ?? '', spec, 'metadata.generateName'),
    ...validateName(metadata.name ?? '', spec, 'metadata.name'),
  ];
  if (group === '' && version !== 'v1')
    errors.push(required('spec.group', 'only v1 may have an empty group and it better be legacy kube'));
  if (group !== '') errors.push(...invalidEach('spec.group', group, isDNS1123Subdomain(group)));
  errors.push(...invalidEach('spec.version', version, isDNS1035Label(version)));
  if (groupPriorityMinimum <= 0 || groupPriorityMinimum > 20_000)
    errors.push(invalid('spec.groupPriorityMinimum', groupPriorityMinimum, 'must be positive and less than 20000'));
  if (versionPriority <= 0 || versionPriority > 1000)
    errors.push(invalid('spec.versionPriority', versionPriority, 'must be positive and less than 1000'));
  const bundle = Buffer.from((caBundle ?? '') as string, 'base64').length;
  if (service === undefined || service === null) {
    if (bundle > 0)
      errors.push(invalid('spec.caBundle', `${bundle} bytes`, 'local APIServices may not have a caBundle'));
    if (insecure)
      errors.push(invalid('spec.insecureSkipTLSVerify', true, 'local APIServices may not have insecureSkipTLSVerify'));
    return errors;
  }
  const { namespace = '', name = '', port = 443 } = service;
  if (namespace === '') errors.push(required('spec.service.namespace'));
  if (name === '') errors.push(required('spec.service.name'));
  const wrongPort = isValidPortNum(port);
  if (wrongPort.length > 0)
    errors.push(invalid('spec.service.port', port, `port is not valid: ${wrongPort.join(', ')}`));
  if (insecure && bundle > 0)
    errors.push(invalid('spec.insecureSkipTLSVerify', true, 'may not be true if caBundle is present'));
  return errors;
}

export function validateApiServiceStatus(object: KubeObject): FieldError[] {
  const states = ['True', 'False', 'Unknown'];
  return (statusOf<APIServiceStatus>(object).conditions ?? []).flatMap(({ status }, i) =>
    states.includes(status) ? [] : [notSupported(`status.conditions[${i}].status`, status, states)],
  );
}
