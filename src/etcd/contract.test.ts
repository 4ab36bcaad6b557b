/** The contract of `KeyValueStore` on each of its implementations. */
import { spawn } from 'node:child_process';
import { accessSync, constants, mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { SystemClock } from '../base/clock.ts';
import { silentLogger } from '../base/logger.ts';
import { storeContract } from './contract.ts';
import type { Opened } from './contract.ts';
import { openEmbeddedStore } from './embedded-store.ts';
import { serveEtcd } from './grpc-server.ts';
import { openRemoteStore } from './remote-store.ts';

const clock = new SystemClock();
const logger = silentLogger;

function temporaryDir(): { dir: string; remove(): void } {
  const dir = mkdtempSync(join(tmpdir(), 'knarr-etcd-'));
  return { dir, remove: () => rmSync(dir, { recursive: true, force: true }) };
}

storeContract('memory', async () => {
  const store = await openEmbeddedStore({ engine: 'memory', clock, logger });
  return { store, close: () => store.close() };
});

storeContract('lmdb', async () => {
  const { dir, remove } = temporaryDir();
  const store = await openEmbeddedStore({ engine: 'lmdb', dir, clock, logger });
  return {
    store,
    close: async () => {
      await store.close();
      remove();
    },
  };
});

storeContract('our own etcd server through the client', async () => {
  const embedded = await openEmbeddedStore({ engine: 'memory', clock, logger });
  const server = await serveEtcd({ mvcc: embedded.mvcc, logger, port: 0 });
  const store = await openRemoteStore({ endpoints: [server.url], logger });
  return {
    store,
    close: async () => {
      await store.close();
      await server.close();
      await embedded.close();
    },
  };
});

/** The real etcd: `KNARR_ETCD` or `etcd` on PATH. */
function findEtcd(): string | undefined {
  const candidates = process.env['KNARR_ETCD']
    ? [process.env['KNARR_ETCD']]
    : (process.env['PATH'] ?? '').split(delimiter).map((dir) => join(dir, 'etcd'));
  return candidates.find((path) => {
    try {
      accessSync(path, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address ? address.port : 0));
    });
  });
}

async function startEtcd(binary: string): Promise<{ endpoint: string; stop(): Promise<void> }> {
  const { dir, remove } = temporaryDir();
  const [client, peer] = [await freePort(), await freePort()];
  const endpoint = `http://127.0.0.1:${client}`;
  const peerUrl = `http://127.0.0.1:${peer}`;
  const child = spawn(
    binary,
    [
      ...['--data-dir', dir, '--name', 'real', '--log-level', 'error'],
      ...['--listen-client-urls', endpoint, '--advertise-client-urls', endpoint],
      ...['--listen-peer-urls', peerUrl, '--initial-advertise-peer-urls', peerUrl],
      ...['--initial-cluster', `real=${peerUrl}`],
    ],
    { stdio: 'ignore' },
  );
  const exited = new Promise<void>((resolve) => {
    child.on('exit', () => resolve());
    child.on('error', () => resolve());
  });
  return {
    endpoint,
    stop: async () => {
      child.kill('SIGKILL');
      await exited;
      remove();
    },
  };
}

storeContract('a real etcd through the client', async (): Promise<Opened | { reason: string }> => {
  const binary = findEtcd();
  if (binary === undefined) {
    const reason = 'etcd not found on PATH (and KNARR_ETCD not set)';
    if (process.env['KNARR_REQUIRE_PEERS']) throw new Error(reason);
    return { reason };
  }
  const etcd = await startEtcd(binary);
  const store = await openRemoteStore({ endpoints: [etcd.endpoint], logger });
  await store.currentRevision();
  return {
    store,
    close: async () => {
      await store.close();
      await etcd.stop();
    },
  };
});
