/** A container's environment: envFrom, env with its sources, and the variables of the namespace's Services. */
import type { Container, Pod, Service } from '../api/types/index.gen.ts';
import type { KubeletContext } from './context.ts';
import { expand, fieldValue, resourceValue } from './downward.ts';
import type { PodRuntimeFields } from './downward.ts';
import { isMissing } from './object-cache.ts';
import type { EnvVar } from './runtime/container-runtime.ts';

function isServiceIpSet(service: Service): boolean {
  const ip = service.spec?.clusterIP;
  return ip !== undefined && ip !== '' && ip !== 'None';
}

function joinHostPort(host: string, port: number): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
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

const variablesOf = new WeakMap<Service, readonly EnvVar[]>();

/** The Service variables of a pod: its namespace's, and always those of the API server. */
export function serviceEnvironment(ctx: KubeletContext, namespace: string, links: boolean): Map<string, EnvVar> {
  const out = new Map<string, EnvVar>();
  const master = ctx.masterServiceNamespace;
  const add = (services: Iterable<Service>, masterOnly: boolean) => {
    for (const s of services) {
      if (!isServiceIpSet(s) || (masterOnly && s.metadata.name !== 'kubernetes')) continue;
      let vars = variablesOf.get(s);
      if (vars === undefined) variablesOf.set(s, (vars = serviceVariables(s)));
      for (const v of vars) out.set(v.key, v);
    }
  };
  add(ctx.services.list(master), true);
  if (links) add(ctx.services.list(namespace), false);
  return out;
}

/** Everything a container finds in its environment. Throws with upstream's text when a source is missing. */
export async function makeEnvironment(
  ctx: KubeletContext,
  pod: Pod,
  container: Container,
  fields: PodRuntimeFields,
): Promise<EnvVar[]> {
  const namespace = pod.metadata.namespace!;
  const service = serviceEnvironment(ctx, namespace, pod.spec?.enableServiceLinks ?? true);
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
  const lookup = (name: string) => vars.get(name) ?? service.get(name)?.value;
  for (const env of container.env ?? []) {
    let value = env.value ?? '';
    const from = env.valueFrom;
    if (value !== '') value = expand(value, lookup);
    else if (from?.fieldRef !== undefined) value = fieldValue(from.fieldRef, pod, fields);
    else if (from?.resourceFieldRef !== undefined) value = resourceValue(from.resourceFieldRef, pod, fields, container);
    else if (from?.configMapKeyRef !== undefined || from?.secretKeyRef !== undefined) {
      const found = await keyValue(ctx, namespace, from);
      if (found === undefined) continue;
      value = found;
    }
    vars.set(env.name, value);
  }
  const out: EnvVar[] = [];
  for (const [key, value] of vars) out.push({ key, value });
  for (const [key, v] of service) if (!vars.has(key)) out.push(v);
  return out;
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
