/**
 * `--admission-control-config-file`: an AdmissionConfiguration, whose plugins carry their configuration in it or in a file of
 * their own, and the kubeconfig of the image policy's backend.
 */
import { dirname, isAbsolute, join } from 'node:path';
import type { AdmissionConfiguration } from '../../apiserver/admission/plugins.ts';
import { defaultPluginNames, optionalPluginNames } from '../../apiserver/admission/plugins.ts';
import type { WebhookAdmissionConfiguration } from '../../apiserver/admission/webhook/webhook-admission.ts';
import { decodeConfig } from '../../apiserver/config-decode.ts';
import type { Clock } from '../../base/clock.ts';
import { readWebhookIdentities } from '../webhook-identities.ts';
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

const webhookPlugins: readonly string[] = ['MutatingAdmissionWebhook', 'ValidatingAdmissionWebhook'];

/** What one of the webhook plugins is told, with the users of its kubeconfig read. @throws {Error} */
async function webhookAdmission(given: Json, clock: Clock): Promise<WebhookAdmissionConfiguration> {
  const { fields } = decodeConfig(given, {
    kind: 'WebhookAdmissionConfiguration',
    versions: ['v1'],
    fields: { kubeConfigFile: 'string', staticManifestsDir: 'string' },
  });
  const { kubeConfigFile = '', staticManifestsDir = '' } = fields as Partial<Record<string, string>>;
  if (kubeConfigFile !== '' && !isAbsolute(kubeConfigFile))
    throw new Error(`kubeConfigFile: Invalid value: ${JSON.stringify(kubeConfigFile)}: must be an absolute file path`);
  if (staticManifestsDir !== '')
    throw new Error(
      'staticManifestsDir: Forbidden: staticManifestsDir requires the ManifestBasedAdmissionControlConfig feature gate to be enabled',
    );
  return kubeConfigFile === '' ? {} : { identityOf: await readWebhookIdentities(kubeConfigFile, clock) };
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
    if (webhookPlugins.includes(name)) {
      configuration[name] = await webhookAdmission(own, clock).catch((error: unknown) => {
        throw new StartError(
          `failed to apply admission: couldn't init admission plugin ${JSON.stringify(name)}: ${(error as Error).message}`,
          { cause: error },
        );
      });
      continue;
    }
    configuration[name] =
      name === 'ImagePolicyWebhook' ? await imagePolicy(own, at === undefined ? folder : dirname(at), clock) : own;
  }
  return configuration;
}
