/** `knarr cloud-controller-manager`: the cloud controllers alone, over the `local` provider. */
import { readFile } from 'node:fs/promises';
import { WorkQueueMetrics } from '../../client/work-queue-metrics.ts';
import type { CloudControllerOptions } from '../../cloud/context.ts';
import { createCloudControllerManager, selectCloudControllers } from '../../cloud/manager.ts';
import type { LocalProviderOptions } from '../../cloud/providers/local/local.ts';
import { createLocalProvider } from '../../cloud/providers/local/local.ts';
import { loadYaml } from '../yaml.ts';
import type { ControlPlaneFlags } from './control-plane-component.ts';
import { runControlPlaneComponent } from './control-plane-component.ts';
import type { ComponentEnvironment } from './environment.ts';
import { measured, StartError } from './environment.ts';
import { serviceAccountClients } from './service-account-clients.ts';

export interface CloudControllerManagerFlags extends ControlPlaneFlags {
  readonly cloudProvider: string | undefined;
  /** YAML: `loadBalancerPool`, `region`, `zones`, `instanceType`. */
  readonly cloudConfig: string | undefined;
  readonly controllers: readonly string[];
  readonly useServiceAccountCredentials: boolean;
  readonly options: CloudControllerOptions;
}

const settings = { loadBalancerPool: 'list', region: 'text', zones: 'list', instanceType: 'text' } as const;

async function providerOptions(file: string | undefined): Promise<LocalProviderOptions> {
  if (file === undefined || file === '') return {};
  let value: unknown;
  try {
    value = await loadYaml(await readFile(file, 'utf8'));
  } catch (error) {
    throw new StartError(`cannot read ${file} (--cloud-config): ${(error as Error).message.split('\n')[0]}`, {
      cause: error,
    });
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new StartError(`${file} (--cloud-config) is no mapping`);
  for (const [name, v] of Object.entries(value)) {
    const form = (settings as Record<string, 'list' | 'text' | undefined>)[name];
    if (form === undefined)
      throw new StartError(
        `${file} (--cloud-config): ${name} is unknown; known are ${Object.keys(settings).join(', ')}`,
      );
    const fits = form === 'text' ? typeof v === 'string' : Array.isArray(v) && v.every((i) => typeof i === 'string');
    if (!fits)
      throw new StartError(`${file} (--cloud-config): ${name} is a ${form}${form === 'list' ? ' of texts' : ''}`);
  }
  return value as LocalProviderOptions;
}

export async function runCloudControllerManager(
  flags: CloudControllerManagerFlags,
  given: ComponentEnvironment,
): Promise<void> {
  const env = measured(given);
  const queueMetrics = new WorkQueueMetrics();
  const { clock, random, logger } = env;
  if (flags.cloudProvider !== 'local')
    throw new StartError(
      flags.cloudProvider === undefined
        ? '--cloud-provider is needed: local is what there is'
        : `unknown cloud provider ${JSON.stringify(flags.cloudProvider)} (--cloud-provider): local is what there is`,
    );
  try {
    selectCloudControllers(flags.controllers);
  } catch (error) {
    throw new StartError(`--controllers: ${(error as Error).message}`, { cause: error });
  }
  const options = await providerOptions(flags.cloudConfig);
  try {
    createLocalProvider(options);
  } catch (error) {
    throw new StartError(`${flags.cloudConfig} (--cloud-config): ${(error as Error).message}`, { cause: error });
  }
  await runControlPlaneComponent({
    component: 'cloud-controller-manager',
    flags,
    env,
    metrics: queueMetrics.families,
    make: (client, base) => {
      const accounts = flags.useServiceAccountCredentials
        ? serviceAccountClients({ component: 'cloud-controller-manager', base, client, env })
        : undefined;
      const manager = createCloudControllerManager({
        client,
        clientFor: (name) => accounts?.clientFor(name) ?? client,
        clock,
        random,
        logger,
        provider: createLocalProvider(options),
        controllers: flags.controllers,
        queueMetrics,
        options: flags.options,
      });
      return {
        start: () => manager.start(),
        async stop() {
          await manager.stop();
          await accounts?.close();
        },
      };
    },
  });
}
