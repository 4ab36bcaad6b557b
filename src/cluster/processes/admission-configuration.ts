/**
 * `--admission-control-config-file`: an AdmissionConfiguration, whose plugins carry their configuration in it or in a file of
 * their own, and the kubeconfig of the image policy's backend.
 */
import { dirname, isAbsolute, join } from 'node:path';
import type { AdmissionConfiguration } from '../../apiserver/admission/plugins.ts';
import { defaultPluginNames, optionalPluginNames } from '../../apiserver/admission/plugins.ts';
import type { Clock } from '../../base/clock.ts';
import { webhookOfKubeconfig } from '../webhook-kubeconfig.ts';
import { loadYaml } from '../yaml.ts';
import { readNamed, StartError } from './environment.ts';

const flag = 'admission-control-config-file';

type Json = Record<string, unknown>;

function asObject(value: unknown, what: string): Json {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new StartError(`${what}: not an object`);
  return value as Json;
}

async function readObject(file: string): Promise<Json> {
  const text = await readNamed(flag, file);
  try {
    return asObject(await loadYaml(text), file);
  } catch (error) {
    if (error instanceof StartError) throw error;
    throw new StartError(`${file} (--${flag}): ${(error as Error).message}`, { cause: error });
  }
}

/** `imagePolicy` with the backend of its kubeconfig. */
async function imagePolicy(given: Json, folder: string, clock: Clock): Promise<Json> {
  const policy = asObject(given['imagePolicy'] ?? {}, 'ImagePolicyWebhook: imagePolicy');
  const file = policy['kubeConfigFile'];
  if (typeof file !== 'string' || file === '')
    throw new StartError('ImagePolicyWebhook: imagePolicy.kubeConfigFile is required');
  const path = isAbsolute(file) ? file : join(folder, file);
  const backend = await webhookOfKubeconfig(path, clock).catch((error: unknown) => {
    throw new StartError(`ImagePolicyWebhook: ${(error as Error).message}`, { cause: error });
  });
  return { ...policy, backend };
}

/** @throws {StartError} */
export async function readAdmissionConfiguration(
  file: string | undefined,
  clock: Clock,
): Promise<AdmissionConfiguration> {
  if (file === undefined || file === '') return {};
  const folder = dirname(file);
  const root = await readObject(file);
  if (root['kind'] !== 'AdmissionConfiguration')
    throw new StartError(`${file} (--${flag}): its kind is not AdmissionConfiguration`);
  const plugins = (root['plugins'] ?? []) as readonly { name?: string; path?: string; configuration?: unknown }[];
  const configuration: Record<string, unknown> = {};
  for (const { name = '', path, configuration: inline } of plugins) {
    if (!defaultPluginNames.includes(name) && !optionalPluginNames.includes(name))
      throw new StartError(`${file} (--${flag}): plugin "${name}" is unknown`);
    if (inline === undefined && (path === undefined || path === '')) continue;
    const at = path === undefined || isAbsolute(path) ? path : join(folder, path);
    const own = inline === undefined ? await readObject(at!) : asObject(inline, `${file}: ${name}`);
    configuration[name] =
      name === 'ImagePolicyWebhook' ? await imagePolicy(own, at === undefined ? folder : dirname(at), clock) : own;
  }
  return configuration;
}
