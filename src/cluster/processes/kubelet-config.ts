/**
 * The kubelet's settings from its flags and from a KubeletConfiguration file (`--config`): a flag goes before the file, the file
 * before the defaults, which are those of KubeletConfiguration. A field of the file that has no meaning here is refused by name.
 */
import { readFile } from 'node:fs/promises';
import type { Taint } from '../../api/types/index.gen.ts';
import { loadYaml } from '../yaml.ts';
import { StartError } from './environment.ts';

/** What flag and file can both say. Undefined: neither does. */
export interface KubeletSettings {
  readonly address?: string | undefined;
  readonly port?: number | undefined;
  readonly healthzPort?: number | undefined;
  readonly healthzBindAddress?: string | undefined;
  readonly tlsCertFile?: string | undefined;
  readonly tlsPrivateKeyFile?: string | undefined;
  readonly clientCaFile?: string | undefined;
  readonly anonymousAuth?: boolean | undefined;
  readonly tokenWebhook?: boolean | undefined;
  readonly authorizationMode?: 'AlwaysAllow' | 'Webhook' | undefined;
  readonly clusterDns?: readonly string[] | undefined;
  readonly clusterDomain?: string | undefined;
  readonly maxPods?: number | undefined;
  readonly podCidr?: string | undefined;
  readonly providerId?: string | undefined;
  readonly registerNode?: boolean | undefined;
  readonly registerWithTaints?: readonly Taint[] | undefined;
  readonly containerRuntimeEndpoint?: string | undefined;
  readonly nodeLeaseDurationSeconds?: number | undefined;
}

type Kind = 'string' | 'number' | 'boolean' | 'strings' | 'taints' | 'mode';

/** Path in the file → setting and form. */
const fields: Readonly<Record<string, readonly [keyof KubeletSettings, Kind]>> = {
  address: ['address', 'string'],
  port: ['port', 'number'],
  healthzPort: ['healthzPort', 'number'],
  healthzBindAddress: ['healthzBindAddress', 'string'],
  tlsCertFile: ['tlsCertFile', 'string'],
  tlsPrivateKeyFile: ['tlsPrivateKeyFile', 'string'],
  'authentication.x509.clientCAFile': ['clientCaFile', 'string'],
  'authentication.anonymous.enabled': ['anonymousAuth', 'boolean'],
  'authentication.webhook.enabled': ['tokenWebhook', 'boolean'],
  'authorization.mode': ['authorizationMode', 'mode'],
  clusterDNS: ['clusterDns', 'strings'],
  clusterDomain: ['clusterDomain', 'string'],
  maxPods: ['maxPods', 'number'],
  podCIDR: ['podCidr', 'string'],
  providerID: ['providerId', 'string'],
  registerNode: ['registerNode', 'boolean'],
  registerWithTaints: ['registerWithTaints', 'taints'],
  containerRuntimeEndpoint: ['containerRuntimeEndpoint', 'string'],
  nodeLeaseDurationSeconds: ['nodeLeaseDurationSeconds', 'number'],
};
const branches = new Set(
  Object.keys(fields).flatMap((p) => p.split('.').map((_, i, all) => all.slice(0, i).join('.'))),
);

function fits(value: unknown, kind: Kind): boolean {
  switch (kind) {
    case 'strings':
      return Array.isArray(value) && value.every((v) => typeof v === 'string');
    case 'taints':
      return Array.isArray(value) && value.every((v) => typeof v === 'object' && v !== null && 'key' in v);
    case 'mode':
      return value === 'AlwaysAllow' || value === 'Webhook';
    default:
      return typeof value === kind;
  }
}

/** Reads a KubeletConfiguration. Throws one line for what cannot be used. */
export async function readKubeletConfig(file: string): Promise<KubeletSettings> {
  let value: unknown;
  try {
    value = await loadYaml(await readFile(file, 'utf8'));
  } catch (error) {
    throw new StartError(`cannot read ${file} (--config): ${(error as Error).message.split('\n')[0]}`, {
      cause: error,
    });
  }
  const root = value as Record<string, unknown> | null;
  if (typeof root !== 'object' || root === null || root['kind'] !== 'KubeletConfiguration')
    throw new StartError(`${file} (--config) is no KubeletConfiguration`);
  const out: Record<string, unknown> = {};
  const walk = (object: Record<string, unknown>, prefix: string): void => {
    for (const [name, v] of Object.entries(object)) {
      const path = prefix === '' ? name : `${prefix}.${name}`;
      if (path === 'kind' || path === 'apiVersion' || v === null) continue;
      const field = fields[path];
      if (field !== undefined) {
        if (!fits(v, field[1])) throw new StartError(`${file} (--config): ${path} has a value of the wrong form`);
        out[field[0]] = v;
      } else if (branches.has(path) && typeof v === 'object') walk(v as Record<string, unknown>, path);
      else throw new StartError(`${file} (--config): ${path} is not known to this version; take it out`);
    }
  };
  walk(root, '');
  return out as KubeletSettings;
}

/** `key=value:effect`, comma-separated, as `--register-with-taints` has it. */
export function parseTaints(list: readonly string[]): Taint[] {
  return list.map((text) => {
    const m = /^([^=:]+)(?:=([^:]*))?:(NoSchedule|PreferNoSchedule|NoExecute)$/.exec(text);
    if (m === null) throw new StartError(`--register-with-taints: ${text} is not of the form key=value:effect`);
    return { key: m[1]!, ...(m[2] === undefined || m[2] === '' ? {} : { value: m[2] }), effect: m[3]! };
  });
}
