/** `--config` and `--write-config-to` of kube-scheduler: a KubeSchedulerConfiguration, read strictly. */
import { writeFile } from 'node:fs/promises';
import { stringifyYaml } from '../../api/codec/yaml.ts';
import type { Logger } from '../../base/logger.ts';
import { formatDuration, parseDuration } from '../../api/time.ts';
import { defaultSchedulerName, pluginNames, type PluginSet, type SchedulerProfile } from '../../scheduler/profile.ts';
import { loadYaml } from '../yaml.ts';
import { readNamed, StartError } from './environment.ts';
import type { LeaderElectionFlags } from './leading.ts';

const apiVersion = 'kubescheduler.config.k8s.io/v1';
const kind = 'KubeSchedulerConfiguration';

export interface SchedulerConfig {
  readonly kubeconfig: string | undefined;
  readonly election: Partial<LeaderElectionFlags>;
  readonly profiles: readonly SchedulerProfile[];
  readonly initialBackoffMs: number | undefined;
  readonly maxBackoffMs: number | undefined;
}

type Members = Readonly<Record<string, unknown>>;

/** What each part may hold; `true`: a value of its own. */
const election = {
  leaderElect: true,
  leaseDuration: true,
  renewDeadline: true,
  retryPeriod: true,
  resourceLock: true,
  resourceName: true,
  resourceNamespace: true,
} as const;
const connection = { kubeconfig: true, acceptContentTypes: true, contentType: true, qps: true, burst: true } as const;
const points = [
  'preEnqueue',
  'queueSort',
  'preFilter',
  'filter',
  'postFilter',
  'preScore',
  'score',
  'reserve',
  'permit',
  'preBind',
  'bind',
  'postBind',
  'multiPoint',
  'placementGenerate',
  'placementScore',
];
const members = [
  'apiVersion',
  'kind',
  'parallelism',
  'leaderElection',
  'clientConnection',
  'enableProfiling',
  'enableContentionProfiling',
  'percentageOfNodesToScore',
  'podInitialBackoffSeconds',
  'podMaxBackoffSeconds',
  'profiles',
  'extenders',
  'delayCacheUntilActive',
];

/** What stands for nothing here, told when it is there. */
const idle: readonly (readonly [member: string, why: string])[] = [
  ['parallelism', 'nodes are looked at one after the other'],
  ['enableProfiling', 'there is no /debug/pprof'],
  ['enableContentionProfiling', 'there are no locks to wait for'],
  ['delayCacheUntilActive', 'the cluster is followed by the leader alone'],
  ['extenders', 'nobody outside is asked'],
];

function strict(value: unknown, known: readonly string[], path: string): Members {
  if (value === undefined || value === null) return {};
  if (typeof value !== 'object' || Array.isArray(value)) throw new StartError(`${path}: it is no mapping`);
  for (const name of Object.keys(value))
    if (!known.includes(name))
      throw new StartError(
        `strict decoding error: unknown field ${JSON.stringify(path === '' ? name : `${path}.${name}`)}`,
      );
  return value as Members;
}

function list(value: unknown, path: string): readonly unknown[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw new StartError(`${path}: it is no list`);
  return value;
}

function number(from: Members, name: string, path = name): number | undefined {
  const value = from[name];
  if (value === undefined || value === null) return undefined;
  if (typeof value !== 'number' || !Number.isInteger(value))
    throw new StartError(`${path}: ${JSON.stringify(value)} is no whole number`);
  return value;
}

function text(from: Members, name: string): string | undefined {
  const value = from[name];
  if (value === undefined || value === null || value === '') return undefined;
  if (typeof value !== 'string') throw new StartError(`${name}: ${JSON.stringify(value)} is no text`);
  return value;
}

function duration(from: Members, name: string): number | undefined {
  const value = text(from, name);
  if (value === undefined) return undefined;
  try {
    return parseDuration(value);
  } catch (error) {
    throw new StartError(`leaderElection.${name}: ${(error as Error).message}`, { cause: error });
  }
}

function percentage(from: Members, path: string): number | undefined {
  const value = number(from, 'percentageOfNodesToScore', path);
  if (value !== undefined && (value < 0 || value > 100))
    throw new StartError(`${path}: Invalid value: ${value}: not in valid range [0-100]`);
  return value;
}

function pluginSet(value: unknown, point: string, profile: string, path: string): PluginSet {
  const set = strict(value, ['enabled', 'disabled'], path);
  const named = (member: 'enabled' | 'disabled'): { name: string; weight?: number }[] =>
    list(set[member], `${path}.${member}`).map((entry, i) => {
      const plugin = strict(entry, ['name', 'weight'], `${path}.${member}[${i}]`);
      const name = text(plugin, 'name') ?? '';
      const weight = number(plugin, 'weight', `${path}.${member}[${i}].weight`);
      if (member === 'enabled' && !pluginNames.includes(name)) {
        const what = point === 'multiPoint' ? 'plugin' : `${point[0]!.toUpperCase()}${point.slice(1)}Plugin`;
        throw new StartError(
          `initializing profiles: creating profile for scheduler name ${profile}: ${what} ${JSON.stringify(name)} does not exist`,
        );
      }
      return { name, ...(weight === undefined ? {} : { weight }) };
    });
  return { enabled: named('enabled'), disabled: named('disabled') };
}

function profileOf(
  value: unknown,
  i: number,
  all: number,
  usual: number | undefined,
  logger: Logger,
): SchedulerProfile {
  const path = `profiles[${i}]`;
  const from = strict(value, ['schedulerName', 'percentageOfNodesToScore', 'plugins', 'pluginConfig'], path);
  const schedulerName = text(from, 'schedulerName') ?? (all === 1 ? defaultSchedulerName : undefined);
  if (schedulerName === undefined) throw new StartError(`${path}.schedulerName: Required value`);
  const sets = strict(from['plugins'], points, `${path}.plugins`);
  for (const config of list(from['pluginConfig'], `${path}.pluginConfig`)) {
    const { name } = strict(config, ['name', 'args'], `${path}.pluginConfig`);
    logger.warn(`pluginConfig of ${String(name)} has no effect: plugins work with their defaults`);
  }
  const percent = percentage(from, `${path}.percentageOfNodesToScore`) ?? usual;
  return {
    schedulerName,
    ...(percent === undefined ? {} : { percentageOfNodesToScore: percent }),
    ...(Object.keys(sets).length === 0
      ? {}
      : {
          plugins: Object.fromEntries(
            Object.entries(sets).map(([point, set]) => [
              point,
              pluginSet(set, point, schedulerName, `${path}.plugins.${point}`),
            ]),
          ),
        }),
  };
}

function seconds(from: Members, name: string): number | undefined {
  const value = number(from, name);
  if (value !== undefined && value <= 0)
    throw new StartError(`${name}: Invalid value: ${value}: must be greater than 0`);
  return value === undefined ? undefined : value * 1000;
}

/** @throws {StartError} */
export async function readSchedulerConfig(file: string, logger: Logger): Promise<SchedulerConfig> {
  const given = await loadYaml(await readNamed('config', file));
  const { apiVersion: version, kind: what } = (given ?? {}) as Members;
  if (version !== apiVersion || what !== kind)
    throw new StartError(
      `no kind ${JSON.stringify(what ?? '')} is registered for version ${JSON.stringify(version ?? '')} (${file}, --config): it is ${kind} of ${apiVersion}`,
    );
  const from = strict(given, members, '');
  for (const [member, why] of idle) if (from[member] !== undefined) logger.warn(`${member} has no effect: ${why}`);
  const client = strict(from['clientConnection'], Object.keys(connection), 'clientConnection');
  const lead = strict(from['leaderElection'], Object.keys(election), 'leaderElection');
  const lock = text(lead, 'resourceLock');
  if (lock !== undefined && lock !== 'leases')
    throw new StartError(
      `leaderElection.resourceLock: Invalid value: ${JSON.stringify(lock)}: resourceLock value must be "leases"`,
    );
  const usual = percentage(from, 'percentageOfNodesToScore');
  const wanted = list(from['profiles'], 'profiles');
  const profiles = (wanted.length === 0 ? [{}] : wanted).map((p, i, { length }) =>
    profileOf(p, i, length, usual, logger),
  );
  profiles.forEach(({ schedulerName }, i) => {
    if (profiles.findIndex((p) => p.schedulerName === schedulerName) !== i)
      throw new StartError(`profiles[${i}].schedulerName: Duplicate value: ${JSON.stringify(schedulerName)}`);
  });
  const initialBackoffMs = seconds(from, 'podInitialBackoffSeconds');
  const maxBackoffMs = seconds(from, 'podMaxBackoffSeconds');
  if ((maxBackoffMs ?? 10_000) < (initialBackoffMs ?? 1000))
    throw new StartError(
      `podMaxBackoffSeconds: Invalid value: ${(maxBackoffMs ?? 10_000) / 1000}: must be greater than or equal to PodInitialBackoffSeconds`,
    );
  const known: [keyof LeaderElectionFlags, unknown][] = [
    ['leaderElect', lead['leaderElect']],
    ['leaseDurationMs', duration(lead, 'leaseDuration')],
    ['renewDeadlineMs', duration(lead, 'renewDeadline')],
    ['retryPeriodMs', duration(lead, 'retryPeriod')],
    ['resourceName', text(lead, 'resourceName')],
    ['resourceNamespace', text(lead, 'resourceNamespace')],
  ];
  return {
    kubeconfig: text(client, 'kubeconfig'),
    election: Object.fromEntries(known.filter(([, value]) => value !== undefined && value !== null)),
    profiles,
    initialBackoffMs,
    maxBackoffMs,
  };
}

/** Writes what is in force, in the form that `--config` reads. @throws {StartError} */
export async function writeSchedulerConfig(
  file: string,
  kubeconfig: string | undefined,
  lead: LeaderElectionFlags,
  config: Pick<SchedulerConfig, 'profiles' | 'initialBackoffMs' | 'maxBackoffMs'>,
): Promise<void> {
  const value = {
    apiVersion,
    clientConnection: { kubeconfig: kubeconfig ?? '' },
    kind,
    leaderElection: {
      leaderElect: lead.leaderElect,
      leaseDuration: formatDuration(lead.leaseDurationMs),
      renewDeadline: formatDuration(lead.renewDeadlineMs),
      resourceLock: 'leases',
      resourceName: lead.resourceName,
      resourceNamespace: lead.resourceNamespace,
      retryPeriod: formatDuration(lead.retryPeriodMs),
    },
    podInitialBackoffSeconds: (config.initialBackoffMs ?? 1000) / 1000,
    podMaxBackoffSeconds: (config.maxBackoffMs ?? 10_000) / 1000,
    profiles: config.profiles,
  };
  try {
    await writeFile(file, stringifyYaml(value));
  } catch (error) {
    throw new StartError(`cannot write ${file} (--write-config-to): ${(error as Error).message}`, { cause: error });
  }
}
