/** A container's environment: envFrom, env with its sources, and the variables of the namespace's Services. */
import { joinHostPort } from '../base/host-port.ts';
import type { Container, FileKeySelector, Pod, Service, Volume } from '../api/types/index.gen.ts';
import type { KubeletContext } from './context.ts';
import { expand, fieldValue, resourceValue } from './downward.ts';
import type { PodRuntimeFields } from './downward.ts';
import { envFileValue } from './env-file.ts';
import { isMissing } from './object-cache.ts';
import { formatPod } from './pod-util.ts';
import type { EnvVar } from './runtime/container-runtime.ts';

const maxNamespaces = 256;

function isServiceIpSet(service: Service): boolean {
  const ip = service.spec?.clusterIP;
  return ip !== undefined && ip !== '' && ip !== 'None';
}

/** The Docker-link-style variables of one Service. */
export function serviceVariables(service: Service): EnvVar[] {
  const out: EnvVar[] = [];
  const ip = service.spec?.clusterIP ?? '';
  const ports = service.spec?.ports ?? [];
  const first = ports[0];
  if (first === undefined) return out;
  const name = (service.metadata.name ?? '').toUpperCase().replaceAll('-', '_');
  out.push({ key: `${name}_SERVICE_HOST`, value: ip }, { key: `${name}_SERVICE_PORT`, value: String(first.port) });
  for (const p of ports)
    if (p.name !== undefined && p.name !== '')
      out.push({ key: `${name}_SERVICE_PORT_${p.name.toUpperCase().replaceAll('-', '_')}`, value: String(p.port) });
  const proto = (p: { protocol?: string }) => p.protocol ?? 'TCP';
  out.push({ key: `${name}_PORT`, value: `${proto(first).toLowerCase()}://${joinHostPort(ip, first.port)}` });
  for (const p of ports) {
    const prefix = `${name}_PORT_${p.port}_${proto(p).toUpperCase()}`;
    out.push(
      { key: prefix, value: `${proto(p).toLowerCase()}://${joinHostPort(ip, p.port)}` },
      { key: `${prefix}_PROTO`, value: proto(p).toLowerCase() },
      { key: `${prefix}_PORT`, value: String(p.port) },
      { key: `${prefix}_ADDR`, value: ip },
    );
  }
  return out;
}

/** The Service variables of one namespace, kept while its Services stay the same. */
export interface ServiceVariables {
  readonly services: readonly Service[];
  readonly byName: ReadonlyMap<string, EnvVar>;
  readonly list: readonly EnvVar[];
}

/** The Service variables of a pod: its namespace's, and always those of the API server. */
export function serviceEnvironment(ctx: KubeletContext, namespace: string, links: boolean): ServiceVariables {
  const services: Service[] = [];
  for (const s of ctx.services.list(ctx.masterServiceNamespace))
    if (s.metadata.name === 'kubernetes' && isServiceIpSet(s)) services.push(s);
  if (links) for (const s of ctx.services.list(namespace)) if (isServiceIpSet(s)) services.push(s);
  const key = links ? namespace : '';
  const known = ctx.serviceVariables.get(key);
  if (
    known !== undefined &&
    known.services.length === services.length &&
    services.every((s, i) => s === known.services[i])
  )
    return known;
  const byName = new Map<string, EnvVar>();
  for (const s of services) for (const v of serviceVariables(s)) byName.set(v.key, v);
  const made: ServiceVariables = { services, byName, list: [...byName.values()] };
  if (ctx.serviceVariables.size >= maxNamespaces) ctx.serviceVariables.clear();
  ctx.serviceVariables.set(key, made);
  return made;
}

/** Everything a container finds in its environment. Throws with upstream's text when a source is missing. */
export async function makeEnvironment(
  ctx: KubeletContext,
  pod: Pod,
  container: Container,
  fields: PodRuntimeFields,
  volumePath: (volume: Volume) => string | undefined,
): Promise<readonly EnvVar[]> {
  const namespace = pod.metadata.namespace!;
  const service = serviceEnvironment(ctx, namespace, pod.spec?.enableServiceLinks ?? true);
  if ((container.env?.length ?? 0) === 0 && (container.envFrom?.length ?? 0) === 0) return service.list;
  const vars = new Map<string, string>();
  for (const from of container.envFrom ?? []) {
    const source = from.configMapRef ?? from.secretRef;
    if (source === undefined) continue;
    try {
      const data =
        from.configMapRef !== undefined
          ? ((await ctx.objects.configMap(namespace, source.name!)).data ?? {})
          : decodeAll((await ctx.objects.secret(namespace, source.name!)).data);
      for (const k in data) vars.set((from.prefix ?? '') + k, data[k]!);
    } catch (error) {
      if (!isMissing(error) || source.optional !== true) throw error;
    }
  }
  const lookup = (name: string) => vars.get(name) ?? service.byName.get(name)?.value;
  for (const env of container.env ?? []) {
    let value = env.value ?? '';
    const from = env.valueFrom;
    if (value !== '') value = expand(value, lookup);
    else if (from?.fieldRef !== undefined) value = fieldValue(from.fieldRef, pod, fields);
    else if (from?.resourceFieldRef !== undefined) value = resourceValue(from.resourceFieldRef, pod, fields, container);
    else if (from?.fileKeyRef !== undefined) {
      const found = await fileValue(ctx, pod, from.fileKeyRef, volumePath);
      if (found === undefined) continue;
      value = found;
    } else if (from?.configMapKeyRef !== undefined || from?.secretKeyRef !== undefined) {
      const found = await keyValue(ctx, namespace, from);
      if (found === undefined) continue;
      value = found;
    }
    vars.set(env.name, value);
  }
  const out: EnvVar[] = [];
  for (const [key, value] of vars) out.push({ key, value });
  for (const [key, v] of service.byName) if (!vars.has(key)) out.push(v);
  return out;
}

const maxEnvFile = 64 * 1024;

/** The value of a key in a file that an earlier container left in a volume; undefined when it is optional and not there. */
async function fileValue(
  ctx: KubeletContext,
  pod: Pod,
  ref: FileKeySelector,
  volumePath: (volume: Volume) => string | undefined,
): Promise<string | undefined> {
  const volume = pod.spec?.volumes?.find((v) => v.name === ref.volumeName);
  const base = volume === undefined ? undefined : volumePath(volume);
  if (base === undefined) throw new Error(`cannot find the volume "${ref.volumeName}" referenced by FileKeyRef`);
  let value: string;
  try {
    const data = await ctx.host.readBelow(base, ref.path, maxEnvFile);
    if (data === undefined) throw new Error(`open ${base}/${ref.path}: no such file or directory`);
    value = envFileValue(data.toString(), ref.key);
  } catch (error) {
    // What is wrong with it may tell of the node's files.
    ctx.logger.warn('Failed to parse env file', { pod: formatPod(pod), error });
    throw new Error("couldn't parse env file", { cause: error });
  }
  if (value !== '') return value;
  if (ref.optional === true) return undefined;
  throw new Error(`environment variable key "${ref.key}" not found in file "${base}/${ref.path}"`);
}

function decodeAll(data: Record<string, string> | undefined): Record<string, string> {
  const out: Record<string, string> = {};
  for (const k in data) out[k] = Buffer.from(data[k]!, 'base64').toString();
  return out;
}

async function keyValue(
  ctx: KubeletContext,
  namespace: string,
  from: NonNullable<NonNullable<Container['env']>[number]['valueFrom']>,
): Promise<string | undefined> {
  const ref = (from.configMapKeyRef ?? from.secretKeyRef)!;
  const optional = ref.optional === true;
  let data: Record<string, string> | undefined;
  try {
    if (from.configMapKeyRef !== undefined) data = (await ctx.objects.configMap(namespace, ref.name!)).data;
    else data = (await ctx.objects.secret(namespace, ref.name!)).data;
  } catch (error) {
    if (isMissing(error) && optional) return undefined;
    throw error;
  }
  const value = data?.[ref.key];
  if (value === undefined) {
    if (optional) return undefined;
    throw new Error(
      `couldn't find key ${ref.key} in ${from.configMapKeyRef !== undefined ? 'ConfigMap' : 'Secret'} ${namespace}/${ref.name}`,
    );
  }
  return from.configMapKeyRef !== undefined ? value : Buffer.from(value, 'base64').toString();
}
