/**
 * The kubelet's configuration from a KubeletConfiguration file (`--config`), drop-in files (`--config-dir`, in the order of their
 * names) and flags: a flag goes before the files, a later file before an earlier one, all before upstream's defaults.
 */
import { readdir, readFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import type { Logger } from '../../base/logger.ts';
import type { KubeletConfiguration } from '../../kubelet/configuration/configuration.ts';
import { kubeletConfiguration } from '../../kubelet/configuration/configuration.ts';
import type { PlainObject } from '../../kubelet/configuration/configuration-fields.ts';
import { mergeConfiguration, readConfiguration } from '../../kubelet/configuration/configuration-fields.ts';
import { configurationGaps } from '../../kubelet/configuration/configuration-gaps.ts';
import { loadYaml } from '../yaml.ts';
import { StartError } from './environment.ts';

const apiVersion = 'kubelet.config.k8s.io/v1beta1';

export interface KubeletConfigSources {
  /** `--config` */
  readonly file?: string | undefined;
  /** `--config-dir` */
  readonly directory?: string | undefined;
  /** What flags say, in the form of a KubeletConfiguration. */
  readonly flags?: PlainObject;
}

async function load(path: string): Promise<PlainObject> {
  const text = await readFile(path, 'utf8');
  if (text.trim() === '') throw new Error(`kubelet config file ${JSON.stringify(path)} was empty`);
  const value = (await loadYaml(text)) as PlainObject | null;
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new Error("couldn't get version/kind; json parse error: it is no object");
  const { kind, apiVersion: version } = value;
  if (typeof kind !== 'string' || kind === '') throw new Error("Object 'Kind' is missing");
  if (kind !== 'KubeletConfiguration' || version !== apiVersion)
    throw new Error(`no kind ${JSON.stringify(kind)} is registered for version ${JSON.stringify(version ?? '')}`);
  return readConfiguration(value, (relative) => resolve(dirname(resolve(path)), relative));
}

const reason = (error: unknown): string => (error instanceof Error ? error.message : String(error)).split('\n')[0]!;

/** Drop-in files of a directory and of those below, in the order of their names; others are passed over. */
async function dropIns(directory: string): Promise<string[]> {
  const out: string[] = [];
  const entries = await readdir(directory, { withFileTypes: true });
  for (const e of entries.toSorted((a, b) => (a.name < b.name ? -1 : 1))) {
    const path = join(directory, e.name);
    if (e.isDirectory()) out.push(...(await dropIns(path)));
    else if (e.name.endsWith('.conf')) out.push(path);
  }
  return out;
}

/** The whole configuration, and what of it was given. */
export interface ReadConfiguration {
  readonly configuration: KubeletConfiguration;
  readonly given: PlainObject;
}

/** The configuration by its sources. @throws StartError one line, for what cannot be read or used */
export async function readKubeletConfig(sources: KubeletConfigSources): Promise<ReadConfiguration> {
  const { file, directory, flags = {} } = sources;
  let merged: PlainObject = {};
  if (file !== undefined && file !== '')
    try {
      merged = await load(file);
    } catch (error) {
      throw new StartError(`failed to load kubelet config file, path: ${file}, error: ${reason(error)}`, {
        cause: error,
      });
    }
  if (directory !== undefined && directory !== '') {
    let path = '';
    try {
      for (path of await dropIns(directory)) merged = mergeConfiguration(merged, await load(path));
    } catch (error) {
      throw new StartError(
        path === ''
          ? `failed to walk through kubelet dropin directory ${JSON.stringify(directory)}: ${reason(error)}`
          : `failed to load kubelet dropin file, path: ${path}, error: ${reason(error)}`,
        { cause: error },
      );
    }
  }
  try {
    const { featureGates = {} } = merged as { featureGates?: PlainObject };
    const told = readConfiguration(flags, (relative) => resolve(relative));
    // What a map flag says takes the place of the file's map; feature gates alone are joined.
    merged = overlay(merged, told);
    if (told['featureGates'] !== undefined)
      merged = { ...merged, featureGates: { ...featureGates, ...(told['featureGates'] as PlainObject) } };
    return { configuration: kubeletConfiguration(merged as Partial<KubeletConfiguration>), given: merged };
  } catch (error) {
    throw new StartError(`failed to validate kubelet configuration, error: ${reason(error)}`, { cause: error });
  }
}

const structs = new Set([
  'authentication',
  'authorization',
  'x509',
  'webhook',
  'anonymous',
  'memorySwap',
  'userNamespaces',
  'crashLoopBackOff',
]);

function overlay(base: PlainObject, over: PlainObject): PlainObject {
  const out: Record<string, unknown> = { ...base };
  for (const [name, value] of Object.entries(over))
    out[name] = structs.has(name) ? overlay((base[name] ?? {}) as PlainObject, value as PlainObject) : value;
  return out;
}

/** Tells each field that has no effect, one line each. */
export function tellGaps(c: KubeletConfiguration, logger: Logger): void {
  for (const line of configurationGaps(c)) logger.warn(`KubeletConfiguration: ${line}`);
}
