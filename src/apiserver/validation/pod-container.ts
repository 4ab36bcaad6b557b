/** Containers of a pod: ports, environment, probes, hooks, restart rules (pkg/apis/core/validation). */
import {
  duplicate,
  forbiddenField,
  invalid,
  notFoundField,
  notSupported,
  required,
  tooMany,
} from '../../api/field-error.ts';
import {
  isConfigMapKey,
  isDNS1123Subdomain,
  isHTTPHeaderName,
  isRelaxedEnvVarName,
  isValidPortName,
  isValidPortNum,
} from '../../api/names.ts';
import type {
  Container,
  ContainerPort,
  EnvFromSource,
  EnvVar,
  EphemeralContainer,
  LifecycleHandler,
  PodSpec,
  Probe,
  Volume,
} from '../../api/types/index.gen.ts';
import { validateContainerSecurity } from './pod-security.ts';
import {
  envFieldPaths,
  objectFieldSelector,
  resourceFieldSelector,
  validateVolumeDevices,
  validateVolumeMounts,
} from './pod-volumes.ts';
import { containerResources } from './resources.ts';
import {
  type Errors,
  invalidEach,
  validateDnsLabel,
  validateNonnegative,
  validatePortOrName,
  validateRequiredEnum,
} from './field.ts';
import { noBacksteps } from './local-path.ts';

const protocols = ['SCTP', 'TCP', 'UDP'];
const schemes = ['HTTP', 'HTTPS'];
const pullPolicies = ['Always', 'IfNotPresent', 'Never'];
const restartPolicies = ['Always', 'Never', 'OnFailure'];

/** What containers are judged by besides themselves. */
export interface ContainerContext {
  readonly spec: PodSpec;
  readonly volumes: ReadonlyMap<string, Volume>;
  readonly podClaims: ReadonlySet<string>;
}

function ports(list: readonly ContainerPort[] | undefined, field: string): Errors {
  const errors: Errors = [];
  const names = new Set<string>();
  (list ?? []).forEach((p, i) => {
    const at = `${field}[${i}]`;
    if (p.name) {
      const wrong = isValidPortName(p.name);
      if (wrong.length > 0) errors.push(...invalidEach(`${at}.name`, p.name, wrong));
      else if (names.has(p.name)) errors.push(duplicate(`${at}.name`, p.name));
      else names.add(p.name);
    }
    if (!p.containerPort) errors.push(required(`${at}.containerPort`));
    else errors.push(...invalidEach(`${at}.containerPort`, p.containerPort, isValidPortNum(p.containerPort)));
    if (p.hostPort) errors.push(...invalidEach(`${at}.hostPort`, p.hostPort, isValidPortNum(p.hostPort)));
    errors.push(...validateRequiredEnum(p.protocol, protocols, `${at}.protocol`));
  });
  return errors;
}

function keyRef(ref: { name?: string; key: string }, field: string): Errors {
  return [
    ...invalidEach(`${field}.name`, ref.name ?? '', isDNS1123Subdomain(ref.name ?? '')),
    ...(ref.key ? invalidEach(`${field}.key`, ref.key, isConfigMapKey(ref.key)) : [required(`${field}.key`)]),
  ];
}

export function validateEnv(list: readonly EnvVar[] | undefined, field: string): Errors {
  const errors: Errors = [];
  (list ?? []).forEach((e, i) => {
    const at = `${field}[${i}]`;
    if (!e.name) errors.push(required(`${at}.name`));
    else errors.push(...invalidEach(`${at}.name`, e.name, isRelaxedEnvVarName(e.name)));
    const from = e.valueFrom;
    if (from === undefined) return;
    const vf = `${at}.valueFrom`;
    let n = 0;
    if (from.fieldRef !== undefined) {
      n++;
      errors.push(...objectFieldSelector(from.fieldRef, envFieldPaths, `${vf}.fieldRef`));
    }
    if (from.resourceFieldRef !== undefined) {
      n++;
      errors.push(...resourceFieldSelector(from.resourceFieldRef, `${vf}.resourceFieldRef`, false));
    }
    if (from.configMapKeyRef !== undefined) {
      n++;
      errors.push(...keyRef(from.configMapKeyRef, `${vf}.configMapKeyRef`));
    }
    if (from.secretKeyRef !== undefined) {
      n++;
      errors.push(...keyRef(from.secretKeyRef, `${vf}.secretKeyRef`));
    }
    const file = from.fileKeyRef;
    if (file !== undefined) {
      n++;
      const ff = `${vf}.fileKeyRef`;
      errors.push(
        ...(file.key ? invalidEach(`${ff}.key`, file.key, isRelaxedEnvVarName(file.key)) : [required(`${ff}.key`)]),
      );
      errors.push(
        ...(file.volumeName ? validateDnsLabel(file.volumeName, `${ff}.volumeName`) : [required(`${ff}.volumeName`)]),
      );
      errors.push(...(file.path ? noBacksteps(file.path, `${ff}.path`) : [required(`${ff}.path`)]));
    }
    if (n === 0)
      errors.push(
        invalid(
          vf,
          '',
          'must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`',
        ),
      );
    else if (e.value) errors.push(invalid(vf, '', 'may not be specified when `value` is not empty'));
    else if (n > 1) errors.push(invalid(vf, '', 'may not have more than one field specified at a time'));
  });
  return errors;
}

function envFrom(list: readonly EnvFromSource[] | undefined, field: string): Errors {
  const errors: Errors = [];
  (list ?? []).forEach((e, i) => {
    const at = `${field}[${i}]`;
    if (e.prefix) errors.push(...invalidEach(`${at}.prefix`, e.prefix, isRelaxedEnvVarName(e.prefix)));
    let n = 0;
    for (const kind of ['configMapRef', 'secretRef'] as const) {
      const ref = e[kind];
      if (ref === undefined) continue;
      n++;
      errors.push(
        ...(ref.name
          ? invalidEach(`${at}.${kind}.name`, ref.name, isDNS1123Subdomain(ref.name))
          : [required(`${at}.${kind}.name`)]),
      );
    }
    if (n === 0) errors.push(invalid(field, '', 'must specify one of: `configMapRef` or `secretRef`'));
    else if (n > 1) errors.push(invalid(field, '', 'may not have more than one field specified at a time'));
  });
  return errors;
}

function handler(
  h: Pick<Probe, 'exec' | 'httpGet' | 'tcpSocket' | 'grpc'> & LifecycleHandler,
  grace: number | undefined,
  field: string,
  probe: boolean,
): Errors {
  const errors: Errors = [];
  let n = 0;
  const one = (name: string, judge: () => Errors): void => {
    if (n++ > 0) errors.push(forbiddenField(`${field}.${name}`, 'may not specify more than 1 handler type'));
    else errors.push(...judge());
  };
  if (h.exec !== undefined)
    one('exec', () => ((h.exec!.command ?? []).length === 0 ? [required(`${field}.exec.command`)] : []));
  const http = h.httpGet;
  if (http !== undefined)
    one('httpGet', () => {
      const at = `${field}.httpGet`;
      const wrong: Errors = [];
      if (!http.path) wrong.push(required(`${at}.path`));
      wrong.push(...validatePortOrName(http.port, `${at}.port`));
      if (!schemes.includes(http.scheme ?? '')) wrong.push(notSupported(`${at}.scheme`, http.scheme ?? '', schemes));
      for (const header of http.httpHeaders ?? [])
        wrong.push(...invalidEach(`${at}.httpHeaders`, header.name, isHTTPHeaderName(header.name)));
      return wrong;
    });
  if (h.tcpSocket !== undefined)
    one('tcpSocket', () => validatePortOrName(h.tcpSocket!.port, `${field}.tcpSocket.port`));
  if (probe && h.grpc !== undefined) one('grpc', () => validatePortOrName(h.grpc!.port, `${field}.grpc.port`));
  const sleep = h.sleep;
  if (!probe && sleep !== undefined)
    one('sleep', () =>
      grace !== undefined && (sleep.seconds < 0 || sleep.seconds > grace)
        ? [
            invalid(
              `${field}.sleep`,
              sleep.seconds,
              `must be non-negative and less than terminationGracePeriodSeconds (${grace})`,
            ),
          ]
        : [],
    );
  if (n === 0) errors.push(required(field, 'must specify a handler type'));
  return errors;
}

function probe(p: Probe | undefined, kind: 'liveness' | 'readiness' | 'startup', field: string): Errors {
  if (p === undefined) return [];
  const errors = handler(p, undefined, field, true);
  for (const name of [
    'initialDelaySeconds',
    'timeoutSeconds',
    'periodSeconds',
    'successThreshold',
    'failureThreshold',
  ] as const)
    errors.push(...validateNonnegative(p[name], `${field}.${name}`));
  const grace = p.terminationGracePeriodSeconds;
  if (grace !== undefined && grace <= 0)
    errors.push(invalid(`${field}.terminationGracePeriodSeconds`, grace, 'must be greater than 0'));
  if (kind === 'readiness') {
    if (grace !== undefined)
      errors.push(invalid(`${field}.terminationGracePeriodSeconds`, grace, 'must not be set for readinessProbes'));
  } else if ((p.successThreshold ?? 0) !== 1)
    errors.push(invalid(`${field}.successThreshold`, p.successThreshold ?? 0, 'must be 1'));
  return errors;
}

const signals = new Set(
  'ABRT ALRM BUS CHLD CLD CONT FPE HUP ILL INT IO IOT KILL PIPE POLL PROF PWR QUIT SEGV STKFLT STOP SYS TERM TRAP TSTP TTIN TTOU URG USR1 USR2 VTALRM WINCH XCPU XFSZ RTMIN RTMAX'
    .split(' ')
    .concat(
      Array.from({ length: 15 }, (_, i) => `RTMIN+${i + 1}`),
      Array.from({ length: 14 }, (_, i) => `RTMAX-${i + 1}`),
    )
    .map((s) => `SIG${s}`),
);

function hooks(c: Container, grace: number | undefined, os: string | undefined, field: string): Errors {
  const errors: Errors = [];
  const l = c.lifecycle;
  if (l?.postStart !== undefined) errors.push(...handler(l.postStart, grace, `${field}.lifecycle.postStart`, false));
  if (l?.preStop !== undefined) errors.push(...handler(l.preStop, grace, `${field}.lifecycle.preStop`, false));
  if (l?.stopSignal !== undefined) {
    const at = `${field}.lifecycle.stopSignal`;
    const allowed = os === 'windows' ? new Set(['SIGKILL', 'SIGTERM']) : signals;
    if (os === undefined) errors.push(forbiddenField(at, 'may not be set for containers with empty `spec.os.name`'));
    else if (!allowed.has(l.stopSignal)) errors.push(notSupported(at, l.stopSignal, [...allowed].sort()));
  }
  errors.push(...probe(c.livenessProbe, 'liveness', `${field}.livenessProbe`));
  errors.push(...probe(c.readinessProbe, 'readiness', `${field}.readinessProbe`));
  errors.push(...probe(c.startupProbe, 'startup', `${field}.startupProbe`));
  return errors;
}

function resizePolicy(c: Container, podRestartPolicy: string | undefined, field: string): Errors {
  const errors: Errors = [];
  const seen = new Set<string>();
  (c.resizePolicy ?? []).forEach((p, i) => {
    if (seen.has(p.resourceName)) errors.push(duplicate(`${field}[${i}]`, p.resourceName));
    seen.add(p.resourceName);
    errors.push(
      ...validateRequiredEnum(p.resourceName, ['cpu', 'memory'], field),
      ...validateRequiredEnum(p.restartPolicy, ['NotRequired', 'RestartContainer'], field),
    );
    if (podRestartPolicy === 'Never' && p.restartPolicy !== 'NotRequired')
      errors.push(invalid(field, p.restartPolicy, "must be 'NotRequired' when pod `restartPolicy` is 'Never'"));
  });
  return errors;
}

/** Per-container restart policy and rules (KEP-5307). */
function restart(c: Container, field: string): Errors {
  const errors: Errors = [];
  const rules = c.restartPolicyRules ?? [];
  if (c.restartPolicy === undefined) {
    if (rules.length === 0) return errors;
    errors.push(required(`${field}.restartPolicy`, 'must specify restartPolicy when restart rules are used'));
  } else if (!restartPolicies.includes(c.restartPolicy))
    errors.push(notSupported(`${field}.restartPolicy`, c.restartPolicy, restartPolicies));
  if (rules.length > 20) errors.push(tooMany(`${field}.restartPolicyRules`, rules.length, 20));
  rules.forEach((r, i) => {
    const at = `${field}.restartPolicyRules[${i}]`;
    if (!['Restart', 'RestartAllContainers'].includes(r.action))
      errors.push(notSupported(`${at}.action`, r.action ?? '', ['Restart', 'RestartAllContainers']));
    if (r.exitCodes === undefined) errors.push(required(`${at}.exitCodes`, 'must be specified'));
    else {
      if (!['In', 'NotIn'].includes(r.exitCodes.operator))
        errors.push(notSupported(`${at}.exitCodes.operator`, r.exitCodes.operator, ['In', 'NotIn']));
      if ((r.exitCodes.values ?? []).length > 255)
        errors.push(tooMany(`${at}.exitCodes.values`, r.exitCodes.values!.length, 255));
    }
  });
  return errors;
}

function common(c: Container, ctx: ContainerContext, field: string): Errors {
  const errors: Errors = [];
  if (!c.name) errors.push(required(`${field}.name`));
  else errors.push(...validateDnsLabel(c.name, `${field}.name`));
  if (!c.image) errors.push(required(`${field}.image`));
  errors.push(
    ...validateRequiredEnum(
      c.terminationMessagePolicy,
      ['File', 'FallbackToLogsOnError'],
      `${field}.terminationMessagePolicy`,
    ),
    ...ports(c.ports, `${field}.ports`),
    ...validateEnv(c.env, `${field}.env`),
    ...envFrom(c.envFrom, `${field}.envFrom`),
    ...validateVolumeMounts(c, ctx.volumes, `${field}.volumeMounts`),
    ...validateVolumeDevices(c, ctx.volumes, `${field}.volumeDevices`),
    ...validateRequiredEnum(c.imagePullPolicy, pullPolicies, `${field}.imagePullPolicy`),
    ...containerResources(c.resources, ctx.podClaims, `${field}.resources`),
    ...resizePolicy(c, ctx.spec.restartPolicy, `${field}.resizePolicy`),
    ...validateContainerSecurity(c.securityContext, `${field}.securityContext`, ctx.spec.hostUsers !== false),
  );
  return errors;
}

function hostPortConflicts(containers: readonly Container[], field: string): Errors {
  const errors: Errors = [];
  const seen = new Set<string>();
  containers.forEach((c, i) =>
    (c.ports ?? []).forEach((p, j) => {
      if (!p.hostPort) return;
      const key = `${p.protocol ?? ''}/${p.hostIP ?? ''}/${p.hostPort}`;
      if (seen.has(key)) errors.push(duplicate(`${field}[${i}].ports[${j}].hostPort`, key));
      seen.add(key);
    }),
  );
  return errors;
}

export function validateContainers(ctx: ContainerContext, field: string): Errors {
  const { spec } = ctx;
  const containers = spec.containers ?? [];
  if (containers.length === 0) return [required(field)];
  const errors: Errors = [];
  const names = new Set<string>();
  containers.forEach((c, i) => {
    const at = `${field}[${i}]`;
    errors.push(...common(c, ctx, at));
    if (names.has(c.name)) errors.push(duplicate(`${at}.name`, c.name));
    names.add(c.name);
    errors.push(...hooks(c, spec.terminationGracePeriodSeconds, spec.os?.name, at), ...restart(c, at));
  });
  errors.push(...hostPortConflicts(containers, field));
  return errors;
}

export function validateInitContainers(ctx: ContainerContext, field: string): Errors {
  const { spec } = ctx;
  const errors: Errors = [];
  const names = new Set((spec.containers ?? []).map((c) => c.name));
  (spec.initContainers ?? []).forEach((c, i) => {
    const at = `${field}[${i}]`;
    errors.push(...common(c, ctx, at), ...restart(c, at));
    if (names.has(c.name)) errors.push(duplicate(`${at}.name`, c.name));
    else if (c.name) names.add(c.name);
    errors.push(...hostPortConflicts([c], field));
    if (c.restartPolicy === 'Always') errors.push(...hooks(c, spec.terminationGracePeriodSeconds, spec.os?.name, at));
    else {
      for (const name of ['lifecycle', 'livenessProbe', 'readinessProbe', 'startupProbe'] as const)
        if (c[name] !== undefined)
          errors.push(
            forbiddenField(`${at}.${name}`, 'may not be set for init containers without restartPolicy=Always'),
          );
      (c.resizePolicy ?? []).forEach((p, j) => {
        if (p.restartPolicy === 'RestartContainer')
          errors.push(
            invalid(
              `${at}.resizePolicy[${j}].restartPolicy`,
              p.restartPolicy,
              "must not be set to 'RestartContainer' for non-sidecar initContainers",
            ),
          );
      });
    }
  });
  return errors;
}

const ephemeralFields = new Set<keyof EphemeralContainer>([
  'name',
  'image',
  'command',
  'args',
  'workingDir',
  'envFrom',
  'env',
  'volumeMounts',
  'volumeDevices',
  'terminationMessagePath',
  'terminationMessagePolicy',
  'imagePullPolicy',
  'securityContext',
  'stdin',
  'stdinOnce',
  'tty',
  'targetContainerName',
]);

export function validateEphemeralContainers(ctx: ContainerContext, field: string): Errors {
  const errors: Errors = [];
  const others = new Set([...(ctx.spec.containers ?? []), ...(ctx.spec.initContainers ?? [])].map((c) => c.name));
  const names = new Set(others);
  (ctx.spec.ephemeralContainers ?? []).forEach((c, i) => {
    const at = `${field}[${i}]`;
    errors.push(...common(c as Container, ctx, at), ...imageWhitespace(c as Container, at));
    if (names.has(c.name)) errors.push(duplicate(`${at}.name`, c.name));
    names.add(c.name);
    if (c.targetContainerName && !others.has(c.targetContainerName))
      errors.push(notFoundField(`${at}.targetContainerName`, c.targetContainerName));
    for (const [name, value] of Object.entries(c)) {
      const unset =
        value === undefined ||
        value === null ||
        (Array.isArray(value) && value.length === 0) ||
        (name === 'resources' && Object.keys(value as object).length === 0);
      if (!unset && !ephemeralFields.has(name as keyof EphemeralContainer))
        errors.push(forbiddenField(`${at}.${name}`, 'cannot be set for an Ephemeral Container'));
    }
    (c.volumeMounts ?? []).forEach((m, j) => {
      if (m.subPath)
        errors.push(forbiddenField(`${at}.volumeMounts[${j}].subPath`, 'cannot be set for an Ephemeral Container'));
      if (m.subPathExpr)
        errors.push(forbiddenField(`${at}.volumeMounts[${j}].subPathExpr`, 'cannot be set for an Ephemeral Container'));
    });
  });
  return errors;
}

/** Judged in pods alone, never in templates: old templates may carry it. */
export function imageWhitespace(c: Container, field: string): Errors {
  return c.image !== undefined && c.image.trim() !== c.image
    ? [invalid(`${field}.image`, c.image, 'must not have leading or trailing whitespace')]
    : [];
}
