/** Security contexts of pods and containers (pkg/apis/core/validation). */
import { duplicate, forbiddenField, invalid, notSupported, required } from '../../api/field-error.ts';
import { isDNS1123Subdomain, isValidUserID } from '../../api/names.ts';
import type {
  AppArmorProfile,
  PodSecurityContext,
  PodSpec,
  SeccompProfile,
  SecurityContext,
  WindowsSecurityContextOptions,
} from '../../api/types/index.gen.ts';
import { type Errors, invalidEach } from './field.ts';
import { localDescendingPath } from './local-path.ts';

const profileTypes = ['Localhost', 'RuntimeDefault', 'Unconfined'];
const sysctlPattern = /^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$/;
const sysctlText = '^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$';

function seccomp(p: SeccompProfile | undefined, field: string): Errors {
  if (p === undefined) return [];
  const errors: Errors = [];
  if (!p.type) errors.push(required(`${field}.type`, 'type is required when seccompProfile is set'));
  else if (!profileTypes.includes(p.type)) errors.push(notSupported(`${field}.type`, p.type, profileTypes));
  if (p.type === 'Localhost') {
    if (p.localhostProfile === undefined)
      errors.push(required(`${field}.localhostProfile`, 'must be set when seccomp type is Localhost'));
    else errors.push(...localDescendingPath(p.localhostProfile, `${field}.localhostProfile`));
  } else if (p.localhostProfile !== undefined)
    errors.push(invalid(`${field}.localhostProfile`, p, 'can only be set when seccomp type is Localhost'));
  return errors;
}

function appArmor(p: AppArmorProfile | undefined, field: string): Errors {
  if (p === undefined) return [];
  const at = `${field}.localhostProfile`;
  switch (p.type) {
    case 'Localhost': {
      if (p.localhostProfile === undefined || p.localhostProfile === '')
        return [required(at, 'must be set when AppArmor type is Localhost')];
      const errors: Errors = [];
      if (p.localhostProfile.trim() !== p.localhostProfile)
        errors.push(invalid(at, p.localhostProfile, 'must not be padded with whitespace'));
      if (p.localhostProfile.length > 4095)
        errors.push({ type: 'FieldValueTooLong', field: at, detail: 'may not be more than 4095 bytes' });
      return errors;
    }
    case 'RuntimeDefault':
    case 'Unconfined':
      return p.localhostProfile === undefined
        ? []
        : [invalid(at, p.localhostProfile, 'can only be set when AppArmor type is Localhost')];
    case '':
      return [required(`${field}.type`, 'type is required when appArmorProfile is set')];
    default:
      return [notSupported(`${field}.type`, p.type, profileTypes)];
  }
}

function windows(o: WindowsSecurityContextOptions | undefined, field: string): Errors {
  const errors: Errors = [];
  if (o?.gmsaCredentialSpecName !== undefined)
    errors.push(
      ...invalidEach(
        `${field}.gmsaCredentialSpecName`,
        o.gmsaCredentialSpecName,
        isDNS1123Subdomain(o.gmsaCredentialSpecName),
      ),
    );
  if (o?.gmsaCredentialSpec === '')
    errors.push(
      invalid(`${field}.gmsaCredentialSpec`, o.gmsaCredentialSpec, 'gmsaCredentialSpec cannot be an empty string'),
    );
  if (o?.runAsUserName === '')
    errors.push(invalid(`${field}.runAsUserName`, o.runAsUserName, 'runAsUserName cannot be an empty string'));
  return errors;
}

export function validateContainerSecurity(sc: SecurityContext | undefined, field: string, hostUsers: boolean): Errors {
  if (sc === undefined) return [];
  const errors: Errors = [];
  if (sc.runAsUser !== undefined)
    errors.push(...invalidEach(`${field}.runAsUser`, sc.runAsUser, isValidUserID(sc.runAsUser)));
  if (sc.runAsGroup !== undefined)
    errors.push(...invalidEach(`${field}.runAsGroup`, sc.runAsGroup, isValidUserID(sc.runAsGroup)));
  if (sc.procMount !== undefined) {
    if (sc.procMount !== 'Default' && sc.procMount !== 'Unmasked')
      errors.push(notSupported(`${field}.procMount`, sc.procMount, ['Default', 'Unmasked']));
    if (hostUsers && sc.procMount === 'Unmasked')
      errors.push(invalid(`${field}.procMount`, sc.procMount, '`hostUsers` must be false to use `Unmasked`'));
  }
  errors.push(...seccomp(sc.seccompProfile, `${field}.seccompProfile`));
  if (sc.allowPrivilegeEscalation === false) {
    if (sc.privileged === true)
      errors.push(invalid(field, sc, 'cannot set `allowPrivilegeEscalation` to false and `privileged` to true'));
    if (sc.capabilities?.add?.includes('CAP_SYS_ADMIN') === true)
      errors.push(
        invalid(field, sc, 'cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN'),
      );
  }
  errors.push(
    ...windows(sc.windowsOptions, `${field}.windowsOptions`),
    ...appArmor(sc.appArmorProfile, `${field}.appArmorProfile`),
  );
  return errors;
}

function sysctlNamespace(name: string): 'ipc' | 'net' | '' {
  const n = name.replaceAll('/', '.');
  if (n.startsWith('kernel.shm') || n.startsWith('kernel.msg') || n === 'kernel.sem' || n.startsWith('fs.mqueue.'))
    return 'ipc';
  return n.startsWith('net.') ? 'net' : '';
}

function sysctls(sc: PodSecurityContext, spec: PodSpec, field: string): Errors {
  const errors: Errors = [];
  const seen = new Set<string>();
  (sc.sysctls ?? []).forEach((s, i) => {
    const at = `${field}[${i}].name`;
    if (!s.name) errors.push(required(at));
    else if (s.name.length > 253 || !sysctlPattern.test(s.name))
      errors.push(invalid(at, s.name, `must have at most 253 characters and match regex ${sysctlText}`));
    else if (seen.has(s.name)) errors.push(duplicate(at, s.name));
    const ns = sysctlNamespace(s.name ?? '');
    if (spec.hostNetwork === true && ns === 'net')
      errors.push(invalid(at, s.name, "may not be specified when 'hostNetwork' is true"));
    else if (spec.hostIPC === true && ns === 'ipc')
      errors.push(invalid(at, s.name, "may not be specified when 'hostIPC' is true"));
    seen.add(s.name);
  });
  return errors;
}

/** `path`: of the pod spec, where the host flags and shareProcessNamespace stand. */
export function validatePodSecurity(spec: PodSpec, path: string): Errors {
  const errors: Errors = [];
  const sc = spec.securityContext;
  const field = `${path}.securityContext`;
  if (sc !== undefined) {
    if (sc.fsGroup !== undefined)
      errors.push(...invalidEach(`${field}.fsGroup`, sc.fsGroup, isValidUserID(sc.fsGroup)));
    if (sc.runAsUser !== undefined)
      errors.push(...invalidEach(`${field}.runAsUser`, sc.runAsUser, isValidUserID(sc.runAsUser)));
    if (sc.runAsGroup !== undefined)
      errors.push(...invalidEach(`${field}.runAsGroup`, sc.runAsGroup, isValidUserID(sc.runAsGroup)));
    (sc.supplementalGroups ?? []).forEach((g, i) =>
      errors.push(...invalidEach(`${field}.supplementalGroups[${i}]`, g, isValidUserID(g))),
    );
  }
  if (spec.shareProcessNamespace === true && spec.hostPID === true)
    errors.push(
      invalid(`${field}.shareProcessNamespace`, true, 'ShareProcessNamespace and HostPID cannot both be enabled'),
    );
  if (sc === undefined) return errors;
  errors.push(...sysctls(sc, spec, `${field}.sysctls`));
  const known = (value: string | undefined, supported: readonly string[], name: string): void => {
    if (value !== undefined && !supported.includes(value))
      errors.push(notSupported(`${field}.${name}`, value, supported));
  };
  known(sc.fsGroupChangePolicy, ['Always', 'OnRootMismatch'], 'fsGroupChangePolicy');
  errors.push(
    ...seccomp(sc.seccompProfile, `${field}.seccompProfile`),
    ...windows(sc.windowsOptions, `${field}.windowsOptions`),
    ...appArmor(sc.appArmorProfile, `${field}.appArmorProfile`),
  );
  known(sc.supplementalGroupsPolicy, ['Merge', 'Strict'], 'supplementalGroupsPolicy');
  known(sc.seLinuxChangePolicy, ['Recursive'], 'seLinuxChangePolicy');
  return errors;
}

/** `hostUsers: false` excludes the host's namespaces (KEP-127). */
export function validateHostUsers(spec: PodSpec, path: string): Errors {
  if (spec.hostUsers !== false) return [];
  const errors: Errors = [];
  if (spec.hostNetwork === true) errors.push(forbiddenField(`${path}.hostNetwork`, 'when `hostUsers` is false'));
  if (spec.hostPID === true) errors.push(forbiddenField(`${path}.HostPID`, 'when `hostUsers` is false'));
  if (spec.hostIPC === true) errors.push(forbiddenField(`${path}.HostIPC`, 'when `hostUsers` is false'));
  return errors;
}

const notOnWindows = {
  pod: [
    'appArmorProfile',
    'seLinuxOptions',
    'seccompProfile',
    'fsGroup',
    'fsGroupChangePolicy',
    'sysctls',
    'runAsUser',
    'runAsGroup',
    'supplementalGroups',
    'supplementalGroupsPolicy',
    'seLinuxChangePolicy',
  ],
  spec: ['hostUsers', 'hostPID', 'hostIPC', 'shareProcessNamespace'],
  container: [
    'appArmorProfile',
    'seLinuxOptions',
    'seccompProfile',
    'capabilities',
    'readOnlyRootFilesystem',
    'privileged',
    'allowPrivilegeEscalation',
    'procMount',
    'runAsUser',
    'runAsGroup',
  ],
} as const;

/** What `spec.os.name` rules out. */
export function validateOperatingSystem(spec: PodSpec, path: string): Errors {
  const os = spec.os;
  if (os === undefined) return [];
  if (!os.name) return [required(`${path}.os.name`)];
  if (os.name !== 'linux' && os.name !== 'windows') return [notSupported(`${path}.os`, os.name, ['linux', 'windows'])];
  const errors: Errors = [];
  const groups = [
    ['initContainers', spec.initContainers],
    ['containers', spec.containers],
    ['ephemeralContainers', spec.ephemeralContainers],
  ] as const;
  const each = (judge: (sc: Record<string, unknown>, at: string) => void): void => {
    for (const [name, list] of groups)
      (list ?? []).forEach((c, i) => {
        if (c.securityContext !== undefined)
          judge(c.securityContext as Record<string, unknown>, `${path}.${name}[${i}].securityContext`);
      });
  };
  if (os.name === 'linux') {
    const why = 'windows options cannot be set for a linux pod';
    if (spec.securityContext?.windowsOptions !== undefined)
      errors.push(forbiddenField(`${path}.securityContext.windowsOptions`, why));
    each((sc, at) => {
      if (sc['windowsOptions'] !== undefined) errors.push(forbiddenField(`${at}.windowsOptions`, why));
    });
    return errors;
  }
  const why = 'cannot be set for a windows pod';
  const psc = (spec.securityContext ?? {}) as Record<string, unknown>;
  for (const n of notOnWindows.pod)
    if (psc[n] !== undefined) errors.push(forbiddenField(`${path}.securityContext.${n}`, why));
  for (const n of notOnWindows.spec)
    if (spec[n] !== undefined && (spec[n] === true || n === 'hostUsers' || n === 'shareProcessNamespace'))
      errors.push(forbiddenField(`${path}.${n}`, why));
  each((sc, at) => {
    for (const n of notOnWindows.container) if (sc[n] !== undefined) errors.push(forbiddenField(`${at}.${n}`, why));
  });
  return errors;
}
