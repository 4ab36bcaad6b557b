/**
 * `--allow-privileged`: without it privileged containers (and Windows' host process containers) are refused, in pods and in what
 * makes pods.
 */
import { forbiddenField } from '../../api/field-error.ts';
import type { FieldError } from '../../api/field-error.ts';
import type { KubeObject } from '../../api/object.ts';
import type { Container, PodSpec } from '../../api/types/core-v1.gen.ts';
import type { Findings, ResourceStrategies, Strategy } from '../strategy.ts';
import { podSpecPaths } from './pod-spec-paths.ts';

function specAt(object: KubeObject, path: string): PodSpec | undefined {
  let value: unknown = object;
  for (const step of path.split('.')) value = (value as Record<string, unknown> | undefined)?.[step];
  return value as PodSpec | undefined;
}

function refused(spec: PodSpec | undefined, path: string): FieldError[] {
  if (spec === undefined) return [];
  const errors: FieldError[] = [];
  let hostProcess = spec.securityContext?.windowsOptions?.hostProcess === true;
  for (const member of ['containers', 'initContainers', 'ephemeralContainers'] as const)
    ((spec[member] ?? []) as readonly Pick<Container, 'securityContext'>[]).forEach((container, i) => {
      const context = container.securityContext;
      if (context?.privileged === true)
        errors.push(
          forbiddenField(`${path}.${member}[${i}].securityContext.privileged`, 'disallowed by cluster policy'),
        );
      hostProcess ||= context?.windowsOptions?.hostProcess === true;
    });
  if (hostProcess) errors.push(forbiddenField(path, 'hostProcess containers are disallowed by cluster policy'));
  return errors;
}

function withCheck(strategy: Strategy, path: string): Strategy {
  const and = (found: Findings | undefined, object: KubeObject): Findings => {
    const more = refused(specAt(object, path), path);
    if (more.length === 0) return found ?? [];
    return found instanceof Promise ? found.then((f) => [...f, ...more]) : [...(found ?? []), ...more];
  };
  return {
    ...strategy,
    validate: (ctx, object) => and(strategy.validate?.(ctx, object), object),
    validateUpdate: (ctx, object, old) => and(strategy.validateUpdate?.(ctx, object, old), object),
  };
}

/** The strategies of a resource (`group/resource`) where privileged containers are not allowed. */
export function withoutPrivileged(key: string, strategies: ResourceStrategies): ResourceStrategies {
  const path = podSpecPaths[key];
  if (path === undefined) return strategies;
  const { ephemeralcontainers } = strategies.subresources;
  return {
    ...strategies,
    main: withCheck(strategies.main, path),
    ...(ephemeralcontainers === undefined
      ? {}
      : {
          subresources: { ...strategies.subresources, ephemeralcontainers: withCheck(ephemeralcontainers, path) },
        }),
  };
}
