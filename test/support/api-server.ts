/**
 * `knarr kube-apiserver` with the flags of a test, in this process: over TLS, on a store of its own behind etcd's gRPC API, with
 * a folder of certificates. What it logs is kept.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { Command } from 'commander';
import { SystemClock } from '../../src/base/clock.ts';
import { createLogger, silentLogger } from '../../src/base/logger.ts';
import type { LogRecord } from '../../src/base/logger.ts';
import { SystemRandom } from '../../src/base/random.ts';
import { apiServerCommand } from '../../src/cli/components/kube-apiserver.ts';
import { addCommand, normalizeArgs } from '../../src/cli/flags.ts';
import type { FlagValues } from '../../src/cli/flags.ts';
import { defaultValidity, ensurePki } from '../../src/cluster/pki.ts';
import { openEmbeddedStore } from '../../src/etcd/embedded-store.ts';
import { serveEtcd } from '../../src/etcd/grpc-server.ts';
import type { KeyValueStore } from '../../src/etcd/store.ts';
import { connectApi } from './api.ts';
import type { Api } from './api.ts';

/** A folder with certificates and whatever a test writes into it. */
export class Workspace {
  readonly dir: string = mkdtempSync(join(tmpdir(), 'knarr-apiserver-'));
  readonly pki = new Map<string, string>();

  path(name: string): string {
    return join(this.dir, name);
  }

  write(name: string, text: string | object): string {
    const file = this.path(name);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, typeof text === 'string' ? text : JSON.stringify(text));
    return file;
  }

  dispose(): void {
    rmSync(this.dir, { recursive: true, force: true });
  }
}

export async function createWorkspace(): Promise<Workspace> {
  const work = new Workspace();
  const files = await ensurePki({
    now: Date.now(),
    random: new SystemRandom(),
    validity: defaultValidity,
    requests: [
      {
        name: 'apiserver',
        ca: 'ca',
        commonName: 'kube-apiserver',
        usages: ['server'],
        dnsNames: ['localhost', 'kubernetes.default.svc'],
        addresses: ['127.0.0.1'],
      },
      { name: 'admin', ca: 'ca', commonName: 'admin', organizations: ['system:masters'], usages: ['client'] },
      { name: 'alice', ca: 'ca', commonName: 'alice', organizations: ['dev'], usages: ['client'] },
    ],
  });
  for (const [name, text] of files) {
    work.pki.set(name, text);
    work.write(join('pki', name), text);
  }
  return work;
}

export interface TestStore extends AsyncDisposable {
  readonly url: string;
  /** What lies in it, as any etcd client sees it. */
  readonly store: KeyValueStore;
}

export async function startStore(): Promise<TestStore> {
  const clock = new SystemClock();
  const store = await openEmbeddedStore({
    engine: 'memory',
    clock,
    random: new SystemRandom(),
    logger: silentLogger,
  });
  const server = await serveEtcd({ mvcc: store.mvcc, logger: silentLogger, port: 0 });
  return {
    url: server.url,
    store,
    async [Symbol.asyncDispose]() {
      await server.close();
      await store.close();
    },
  };
}

export interface RunningApiServer extends AsyncDisposable {
  readonly url: string;
  readonly port: number;
  /** As an administrator. */
  readonly api: Api;
  /** With a certificate of the workspace; `nobody` has none. */
  as(name: string): Api;
  readonly log: readonly LogRecord[];
  /** As a signal does; resolves when it has ended. */
  stop(): Promise<void>;
}

/** The values of a command line. */
export async function parseFlags(args: readonly string[]): Promise<FlagValues> {
  let values: FlagValues | undefined;
  const program = new Command().exitOverride();
  addCommand(program, {
    ...apiServerCommand,
    run: (v) => {
      values = v;
      return Promise.resolve();
    },
  });
  await program.parseAsync(normalizeArgs([apiServerCommand.name, ...args]), { from: 'user' });
  return values!;
}

/** Starts with `--authorization-mode=Node,RBAC` and the workspace's certificates; rejects with what the start says. */
export async function startApiServer(
  work: Workspace,
  etcd: Pick<TestStore, 'url'>,
  flags: readonly string[] = [],
): Promise<RunningApiServer> {
  const pki = (name: string): string => work.path(join('pki', name));
  const values = await parseFlags([
    `--etcd-servers=${etcd.url}`,
    '--bind-address=127.0.0.1',
    '--secure-port=0',
    `--client-ca-file=${pki('ca.crt')}`,
    `--tls-cert-file=${pki('apiserver.crt')}`,
    `--tls-private-key-file=${pki('apiserver.key')}`,
    '--service-account-issuer=https://kubernetes.default.svc.cluster.local',
    `--service-account-signing-key-file=${pki('sa.key')}`,
    '--service-cluster-ip-range=10.96.0.0/16',
    '--authorization-mode=Node,RBAC',
    ...flags,
  ]);
  const clock = new SystemClock();
  const log: LogRecord[] = [];
  const stop = new AbortController();
  const started = Promise.withResolvers<string>();
  const ended = apiServerCommand
    .start(values, {
      clock,
      random: new SystemRandom(),
      logger: createLogger({ level: 'debug', now: () => clock.now(), sink: (r) => void log.push(r) }),
      signal: stop.signal,
      say: (line) => {
        const url = /serving on (https:\/\/\S+)/.exec(line)?.[1];
        if (url !== undefined) started.resolve(url);
      },
    })
    .then(() => started.reject(new Error('the API server ended before it served')));
  ended.catch((error: unknown) => started.reject(error as Error));
  const url = await started.promise;
  const apis: Api[] = [];
  const as = (name: string): Api => {
    const api = connectApi({
      adminCredentials: {
        server: url,
        certificateAuthority: work.pki.get('ca.crt')!,
        clientCertificate: work.pki.get(`${name}.crt`)!,
        clientKey: work.pki.get(`${name}.key`)!,
      },
    });
    apis.push(api);
    return api;
  };
  const end = async (): Promise<void> => {
    for (const api of apis) api.close();
    stop.abort(new Error('stopped by the test'));
    await ended;
  };
  return {
    url,
    port: Number(new URL(url).port),
    api: as('admin'),
    as,
    log,
    stop: async () => {
      stop.abort(new Error('stopped by the test'));
      await ended;
    },
    [Symbol.asyncDispose]: end,
  };
}
