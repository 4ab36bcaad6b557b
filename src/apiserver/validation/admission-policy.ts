/** Validation of ValidatingAdmissionPolicy, MutatingAdmissionPolicy and their bindings. */
import { ExpressionCompiler } from '../../api/admission/expressions.ts';
import { isReserved } from '../../api/cel/escaping.ts';
import { duplicate, forbiddenField, invalid, notSupported, required, type FieldError } from '../../api/field-error.ts';
import { semanticEqual } from '../../api/helpers/deep-equal.ts';
import { isDNS1035Label, isDNS1123Subdomain, isPathSegmentName } from '../../api/names.ts';
import type { KubeObject } from '../../api/object.ts';
import { validateLabelSelector, type LabelSelector } from '../../api/selector.ts';
import type {
  AuditAnnotation,
  MatchResources,
  MutatingAdmissionPolicyBindingSpec,
  MutatingAdmissionPolicySpec,
  Mutation,
  NamedRuleWithOperations,
  ParamKind,
  ParamRef,
  ValidatingAdmissionPolicyBindingSpec,
  ValidatingAdmissionPolicySpec,
  ValidatingAdmissionPolicyStatus,
  Validation,
  Variable,
} from '../../api/types/admissionregistration-v1.gen.ts';
import { validateExpression, validateMatchConditions, validateRule } from './admission-rules.ts';
import { validateConditions } from './conditions.ts';
import {
  invalidEach,
  specOf,
  statusOf,
  validateDefaultedEnum,
  validateEnum,
  validateQualifiedName,
  validateRequiredEnum,
} from './field.ts';

const maxAuditAnnotations = 20;
const maxValueExpressionBytes = 5 * 1024;
const mutatingOperations = ['*', 'CONNECT', 'CREATE', 'UPDATE'];
const validationActions = ['Audit', 'Deny', 'Warn'];
const reasons = ['Forbidden', 'Invalid', 'RequestEntityTooLarge'];

/** The members of any struct as they are in a request: required ones may be missing. */
type Given<T> = { readonly [K in keyof T]?: T[K] | undefined };

/** An expression of a policy is checked with all that the policy declares. */
interface Scope {
  readonly compiler: ExpressionCompiler;
  readonly params: boolean;
}

function validateParamKind({ apiVersion = '', kind = '' }: Given<ParamKind>, path: string): FieldError[] {
  const errors: FieldError[] = [];
  const at = `${path}.apiVersion`;
  const parts = apiVersion.split('/');
  if (apiVersion === '') errors.push(required(at));
  else if (parts.length > 2) errors.push(invalid(at, apiVersion, `unexpected GroupVersion string: ${apiVersion}`));
  else {
    const [group, version] =
      apiVersion === '/' ? ['', ''] : parts.length === 1 ? ['', parts[0]!] : [parts[0]!, parts[1]!];
    if (group !== '') {
      const wrong = isDNS1123Subdomain(group);
      if (wrong.length > 0) errors.push(invalid(at, group, wrong.join(',')));
    }
    const wrong = isDNS1035Label(version);
    if (version === '') errors.push(invalid(at, apiVersion, 'version must be specified'));
    else if (wrong.length > 0) errors.push(invalid(at, version, wrong.join(',')));
  }
  const wrong = isDNS1035Label(kind.toLowerCase());
  if (kind === '') errors.push(required(`${path}.kind`));
  else if (wrong.length > 0)
    errors.push(invalid(`${path}.kind`, kind, `may have mixed case, but should otherwise match: ${wrong.join(',')}`));
  return errors;
}

function validateNamedRule(rule: Given<NamedRuleWithOperations>, path: string): FieldError[] {
  const errors: FieldError[] = [];
  const names = rule.resourceNames ?? [];
  names.forEach((name, i) => {
    const at = `${path}.resourceNames[${i}]`;
    errors.push(...invalidEach(at, name, isPathSegmentName(name)));
    if (names.indexOf(name) < i) errors.push(duplicate(at, name));
  });
  return [...errors, ...validateRule(rule, path)];
}

function validateRequiredSelector(selector: LabelSelector | undefined, path: string): FieldError[] {
  return selector === undefined ? [required(path)] : validateLabelSelector(selector, path);
}

function validateMatchResources(given: MatchResources, path: string): FieldError[] {
  return [
    ...validateDefaultedEnum(given.matchPolicy, ['Equivalent', 'Exact'], `${path}.matchPolicy`),
    ...validateRequiredSelector(given.namespaceSelector, `${path}.namespaceSelector`),
    ...validateRequiredSelector(given.objectSelector, `${path}.objectSelector`),
    ...(given.resourceRules ?? []).flatMap((rule, i) => validateNamedRule(rule, `${path}.resourceRules[${i}]`)),
    ...(given.excludeResourceRules ?? []).flatMap((rule, i) =>
      validateNamedRule(rule, `${path}.excludeResourceRules[${i}]`),
    ),
  ];
}

/** Nothing can be changed in what is deleted. */
function validateMutatingOperations(given: MatchResources | undefined, path: string): FieldError[] {
  return (given?.resourceRules ?? [])
    .flatMap((rule) => rule.operations ?? [])
    .filter((operation) => !mutatingOperations.includes(operation))
    .map((operation) => notSupported(`${path}.resourceRules.operations`, operation, mutatingOperations));
}

function validateConstraints(given: MatchResources | undefined, path: string): FieldError[] {
  if (given === undefined) return [required(path)];
  return [
    ...validateMatchResources(given, path),
    ...((given.resourceRules ?? []).length === 0 ? [required(`${path}.resourceRules`)] : []),
  ];
}

function validateVariable({ name = '', expression = '' }: Given<Variable>, path: string, scope: Scope): FieldError[] {
  const errors: FieldError[] = [];
  if (name.trim() === '') errors.push(required(`${path}.name`, 'name is not specified'));
  else if (!/^[_a-zA-Z][_a-zA-Z0-9]*$/.test(name) || isReserved(name))
    errors.push(invalid(`${path}.name`, name, 'must be a valid CEL identifier'));
  if (expression.trim() === '') return [...errors, required(`${path}.expression`, 'expression is not specified')];
  const { compiler, params } = scope;
  const compiled = compiler.declare(name, expression, { params, authorizer: true });
  return [...errors, ...validateExpression(compiled, `${path}.expression`)];
}

function validateValidation(given: Given<Validation>, path: string, { compiler, params }: Scope): FieldError[] {
  const { expression = '', message = '', messageExpression = '', reason } = given;
  const errors: FieldError[] = [];
  if (expression.trim() === '') {
    errors.push(required(`${path}.expression`, 'expression is not specified'));
  } else {
    const compiled = compiler.condition(expression, { params, authorizer: true });
    errors.push(...validateExpression(compiled, `${path}.expression`));
  }
  if (messageExpression !== '') {
    const at = `${path}.messageExpression`;
    errors.push(
      ...(messageExpression.trim() === ''
        ? [invalid(at, messageExpression, 'must be non-empty if specified')]
        : validateExpression(compiler.text(messageExpression, { params, authorizer: false }), at)),
    );
  }
  const text = message.trim();
  if (message !== '' && text === '') errors.push(invalid(`${path}.message`, message, 'must be non-empty if specified'));
  else if (/[\n\r]/.test(text)) errors.push(invalid(`${path}.message`, message, 'must not contain line breaks'));
  return [...errors, ...validateEnum(reason, reasons, `${path}.reason`)];
}

function validateAuditAnnotation(
  { key = '', valueExpression = '' }: Given<AuditAnnotation>,
  policy: string,
  path: string,
  { compiler, params }: Scope,
): FieldError[] {
  const errors: FieldError[] =
    policy === ''
      ? [invalid(`${path}.key`, key, 'requires metadata.name be non-empty')]
      : validateQualifiedName(`${policy}/${key}`, `${path}.key`);
  const at = `${path}.valueExpression`;
  const source = valueExpression.trim();
  if (source === '') return [...errors, required(at, 'valueExpression is not specified')];
  if (Buffer.byteLength(source) > maxValueExpressionBytes)
    return [...errors, required(at, `must not exceed ${maxValueExpressionBytes} bytes in length`)];
  const compiled = compiler.textOrNull(source, { params, authorizer: true });
  return [...errors, ...validateExpression(compiled, at, valueExpression)];
}

function validateAuditAnnotations(
  annotations: readonly AuditAnnotation[],
  policy: string,
  path: string,
  scope: Scope,
): FieldError[] {
  const errors: FieldError[] =
    annotations.length > maxAuditAnnotations
      ? [invalid(path, annotations, `must not have more than ${maxAuditAnnotations} auditAnnotations`)]
      : [];
  const keys = new Set<string>();
  annotations.forEach((annotation, i) => {
    const at = `${path}[${i}]`;
    errors.push(...validateAuditAnnotation(annotation, policy, at, scope));
    if (keys.has(annotation.key)) errors.push(duplicate(`${at}.key`, annotation.key));
    keys.add(annotation.key);
  });
  return errors;
}

type PolicySpec = ValidatingAdmissionPolicySpec & MutatingAdmissionPolicySpec;

/** What both kinds of policies begin with. `old`: conditions that it has already may stay as they are. */
function validateCommon(spec: Given<PolicySpec>, old: Given<PolicySpec> | undefined): FieldError[] {
  const { paramKind, matchConditions = [] } = spec;
  const same =
    old !== undefined &&
    semanticEqual(paramKind, old.paramKind) &&
    semanticEqual(matchConditions, old.matchConditions ?? []);
  return [
    ...validateDefaultedEnum(spec.failurePolicy, ['Fail', 'Ignore'], 'spec.failurePolicy'),
    ...(paramKind === undefined ? [] : validateParamKind(paramKind, 'spec.paramKind')),
    ...validateConstraints(spec.matchConstraints, 'spec.matchConstraints'),
    ...(same
      ? []
      : validateMatchConditions(matchConditions, 'spec.matchConditions', { params: paramKind !== undefined })),
  ];
}

const validateVariables = (variables: readonly Variable[] | undefined, scope: Scope): FieldError[] =>
  (variables ?? []).flatMap((v, i) => validateVariable(v, `spec.variables[${i}]`, scope));

export function validateValidatingPolicy(object: KubeObject, old?: KubeObject): FieldError[] {
  const spec = specOf<ValidatingAdmissionPolicySpec>(object);
  const { variables = [], validations = [], auditAnnotations = [], paramKind } = spec;
  const scope = { compiler: new ExpressionCompiler(variables.length > 0), params: paramKind !== undefined };
  const none = 'validations or auditAnnotations must contain at least one item';
  return [
    ...validateCommon(spec, old === undefined ? undefined : specOf<ValidatingAdmissionPolicySpec>(old)),
    ...validateVariables(variables, scope),
    ...(validations.length === 0 && auditAnnotations.length === 0
      ? [required('spec.validations', none), required('spec.auditAnnotations', none)]
      : [
          ...validations.flatMap((v, i) => validateValidation(v, `spec.validations[${i}]`, scope)),
          ...validateAuditAnnotations(auditAnnotations, object.metadata.name ?? '', 'spec.auditAnnotations', scope),
        ]),
  ];
}

function validateMutation(given: Given<Mutation>, path: string, { compiler, params }: Scope): FieldError[] {
  const { patchType = '', jsonPatch, applyConfiguration } = given;
  const declared = { params, authorizer: true };
  const members = {
    JSONPatch: ['jsonPatch', jsonPatch],
    ApplyConfiguration: ['applyConfiguration', applyConfiguration],
  };
  const errors = validateRequiredEnum(patchType, ['ApplyConfiguration', 'JSONPatch'], `${path}.patchType`);
  if (errors.length > 0) return errors;
  for (const [type, [member, value]] of Object.entries(members)) {
    const at = `${path}.${member as string}`;
    if (type !== patchType) {
      if (value !== undefined)
        errors.push(invalid(at, `{${member as string}}`, `must not be specified when patchType is ${patchType}`));
      continue;
    }
    if (value === undefined) {
      errors.push(required(at, `must be specified when patchType is ${patchType}`));
      continue;
    }
    const source = ((value as { expression?: string }).expression ?? '').trim();
    if (source === '') {
      errors.push(required(`${at}.expression`));
      continue;
    }
    const compiled =
      type === 'JSONPatch' ? compiler.jsonPatch(source, declared) : compiler.applyConfiguration(source, declared);
    errors.push(...validateExpression(compiled, `${at}.expression`));
  }
  return errors;
}

export function validateMutatingPolicy(object: KubeObject, old?: KubeObject): FieldError[] {
  const spec = specOf<MutatingAdmissionPolicySpec>(object);
  const { mutations = [], paramKind, reinvocationPolicy } = spec;
  const scope = { compiler: new ExpressionCompiler(true), params: paramKind !== undefined };
  const errors = validateCommon(spec, old === undefined ? undefined : specOf<MutatingAdmissionPolicySpec>(old));
  return [
    ...errors,
    ...validateMutatingOperations(spec.matchConstraints, 'spec.matchConstraints'),
    ...validateVariables(spec.variables, scope),
    ...(mutations.length === 0
      ? [required('spec.mutations', 'mutations must contain at least one item')]
      : mutations.flatMap((m, i) => validateMutation(m, `spec.mutations[${i}]`, scope))),
    ...validateRequiredEnum(reinvocationPolicy, ['IfNeeded', 'Never'], 'spec.reinvocationPolicy'),
  ];
}

function validateParamRef(given: Given<ParamRef>, path: string): FieldError[] {
  const { name = '', selector, parameterNotFoundAction: missing } = given;
  const exclusive = 'name and selector are mutually exclusive';
  const both = name !== '' && selector !== undefined;
  return [
    ...(name === '' ? [] : invalidEach(`${path}.name`, name, isPathSegmentName(name))),
    ...(both ? [forbiddenField(`${path}.name`, exclusive)] : []),
    ...(selector === undefined ? [] : validateLabelSelector(selector, `${path}.selector`)),
    ...(both ? [forbiddenField(`${path}.selector`, exclusive)] : []),
    ...(name === '' && selector === undefined ? [required(path, 'one of name or selector must be specified')] : []),
    ...validateRequiredEnum(missing, ['Deny', 'Allow'], `${path}.parameterNotFoundAction`),
  ];
}

type BindingSpec = ValidatingAdmissionPolicyBindingSpec & MutatingAdmissionPolicyBindingSpec;

function validateBinding({ policyName = '', paramRef, matchResources }: Given<BindingSpec>): FieldError[] {
  return [
    ...(policyName === ''
      ? [required('spec.policyName')]
      : invalidEach('spec.policyName', policyName, isDNS1123Subdomain(policyName))),
    ...(paramRef === undefined ? [] : validateParamRef(paramRef, 'spec.paramRef')),
    ...(matchResources === undefined ? [] : validateMatchResources(matchResources, 'spec.matchResources')),
  ];
}

function validateValidationActions(actions: readonly string[], path: string): FieldError[] {
  const errors: FieldError[] = [];
  actions.forEach((action, i) => {
    errors.push(...validateEnum(action, validationActions, `${path}[${i}]`));
    if (actions.indexOf(action) < i) errors.push(duplicate(`${path}[${i}]`, action));
  });
  if (actions.includes('Deny') && actions.includes('Warn'))
    errors.push(
      invalid(
        path,
        actions,
        'must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)',
      ),
    );
  return actions.length === 0 ? [required(path, 'at least one validation action is required')] : errors;
}

export function validateValidatingPolicyBinding(object: KubeObject): FieldError[] {
  const spec = specOf<ValidatingAdmissionPolicyBindingSpec>(object);
  return [
    ...validateBinding(spec),
    ...validateValidationActions(spec.validationActions ?? [], 'spec.validationActions'),
  ];
}

export function validateMutatingPolicyBinding(object: KubeObject): FieldError[] {
  const spec = specOf<MutatingAdmissionPolicyBindingSpec>(object);
  return [...validateBinding(spec), ...validateMutatingOperations(spec.matchResources, 'spec.matchResources')];
}

// Status ---------------------------------------------------------------------------------------------------------------

export function validateValidatingPolicyStatus(object: KubeObject): FieldError[] {
  const { typeChecking, conditions = [] } = statusOf<ValidatingAdmissionPolicyStatus>(object);
  return [
    ...(typeChecking?.expressionWarnings ?? []).flatMap(({ warning = '', fieldRef = '' }, i) => {
      const at = `status.typeChecking.expressionWarnings[${i}]`;
      return [
        ...(warning === '' ? [required(`${at}.warning`)] : []),
        ...(fieldRef.trim() === '' ? [required(`${at}.fieldRef`)] : []),
      ];
    }),
    ...validateConditions(conditions, 'status.conditions'),
  ];
}
