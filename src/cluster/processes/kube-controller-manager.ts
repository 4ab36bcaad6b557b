/** `knarr kube-controller-manager`: the controllers alone, each under its own service account where that is asked for. */
import { createControllerManager, selectControllers } from '../../controllers/manager.ts';
import type { ControllerOptions } from '../../controllers/options.ts';
import { certificateSigner } from '../certificate-signer.ts';
import { legacyTokenSigner } from '../legacy-token-signer.ts';
import type { ControlPlaneFlags } from './control-plane-component.ts';
import { runControlPlaneComponent } from './control-plane-component.ts';
import type { ComponentEnvironment } from './environment.ts';
import { readCertificates, readKeyPair, readPrivateKey, StartError } from './environment.ts';
import type { ServiceAccountClients } from './service-account-clients.ts';
import { serviceAccountClients } from './service-account-clients.ts';

export interface ControllerManagerFlags extends ControlPlaneFlags {
  readonly controllers: readonly string[];
  readonly useServiceAccountCredentials: boolean;
  readonly rootCaFile: string | undefined;
  readonly serviceAccountPrivateKeyFile: string | undefined;
  readonly clusterSigningCertFile: string | undefined;
  readonly clusterSigningKeyFile: string | undefined;
  readonly clusterSigningDurationMs: number;
  /** Everything that is a setting of a controller. */
  readonly options: ControllerOptions;
}

export async function runControllerManager(flags: ControllerManagerFlags, env: ComponentEnvironment): Promise<void> {
  const { clock, random, logger } = env;
  try {
    selectControllers(flags.controllers);
  } catch (error) {
    throw new StartError(`--controllers: ${(error as Error).message}`, { cause: error });
  }
  const [rootCA, tokenKey, signing] = await Promise.all([
    readCertificates('root-ca-file', flags.rootCaFile),
    readPrivateKey('service-account-private-key-file', flags.serviceAccountPrivateKeyFile),
    readKeyPair(
      'cluster-signing-cert-file',
      flags.clusterSigningCertFile,
      'cluster-signing-key-file',
      flags.clusterSigningKeyFile,
    ),
  ]);
  const options: ControllerOptions = {
    ...flags.options,
    ...(rootCA === undefined ? {} : { rootCA }),
    ...(tokenKey === undefined ? {} : { signServiceAccountToken: legacyTokenSigner(tokenKey) }),
    ...(signing === undefined
      ? {}
      : {
          certificateSigner: certificateSigner({
            ...signing,
            clock,
            random,
            durationMs: flags.clusterSigningDurationMs,
          }),
        }),
  };
  await runControlPlaneComponent({
    component: 'kube-controller-manager',
    flags,
    env,
    make: (client, base) => {
      const accounts: ServiceAccountClients | undefined = flags.useServiceAccountCredentials
        ? serviceAccountClients({ component: 'kube-controller-manager', base, client, env })
        : undefined;
      const manager = createControllerManager({
        client,
        clientFor: (name) => accounts?.clientFor(name) ?? client,
        clock,
        random,
        logger,
        controllers: flags.controllers,
        options,
      });
      let starting: Promise<void> = Promise.resolve();
      return {
        start: () => (starting = manager.start()),
        async stop() {
          await starting.catch(() => {});
          await manager.stop();
          await accounts?.close();
        },
      };
    },
  });
}
