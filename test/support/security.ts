/** Clusters whose security is set by flags, as a person sets it, and files for those flags. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SystemClock } from '../../src/base/clock.ts';
import { createLogger, formatText } from '../../src/base/logger.ts';
import type { Logger } from '../../src/base/logger.ts';
import { valuesOf } from '../../src/cli/components/component.ts';
import { securityFlags, securityValues } from '../../src/cli/components/security-flags.ts';
import { readSecurity } from '../../src/cluster/processes/security.ts';
import { createCluster } from '../../src/index.ts';
import type { Cluster, ClusterOptions } from '../../src/index.ts';
import type { TlsServer } from './tls-server.ts';

/** A directory of the test's own. */
export class Files implements Disposable {
  readonly folder: string = mkdtempSync(join(tmpdir(), 'knarr-security-'));

  path(name: string): string {
    return join(this.folder, name);
  }

  /** Writes a file; what is no text as JSON, which is YAML too. Returns its path. */
  write(name: string, content: unknown): string {
    const path = this.path(name);
    writeFileSync(path, typeof content === 'string' ? content : JSON.stringify(content));
    return path;
  }

  /** A kubeconfig that leads to a server of the test's. */
  kubeconfig(name: string, server: TlsServer, path = '', user: Record<string, unknown> = {}): string {
    return this.write(name, {
      apiVersion: 'v1',
      kind: 'Config',
      clusters: [
        { name: 'hook', cluster: { server: `${server.url}${path}`, 'certificate-authority-data': server.caBundle } },
      ],
      users: [{ name: 'api', user }],
      contexts: [{ name: 'hook', context: { cluster: 'hook', user: 'api' } }],
      'current-context': 'hook',
    });
  }

  [Symbol.dispose](): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** Collects what is logged. */
export function collectingLogger(lines: string[]): Logger {
  return createLogger({ level: 'info', now: () => Date.now(), sink: (r) => void lines.push(formatText(r)) });
}

export type FlagTexts = Readonly<Record<string, unknown>>;

/** What `knarr up` makes of these flags. @throws what it says of flags that do not fit */
export async function securityOf(flags: FlagTexts, logger: Logger = collectingLogger([])) {
  const values: Record<string, unknown> = {};
  for (const flag of securityFlags({ modes: ['Node', 'RBAC'] })) values[flag.name] = flags[flag.name] ?? flag.default;
  for (const name of Object.keys(flags)) if (!(name in values)) throw new Error(`there is no flag --${name}`);
  const given = securityValues(valuesOf(values));
  const { security, ...more } = await readSecurity(given, ['Node', 'RBAC'], { clock: new SystemClock(), logger });
  return { ...security, ...more, issuers: given.serviceAccountIssuer };
}

/** A cluster without nodes that listens. */
export async function secureCluster(flags: FlagTexts, options: Partial<ClusterOptions> = {}): Promise<Cluster> {
  return createCluster({
    nodes: 0,
    https: { port: 0 },
    disable: ['kube-scheduler', 'cloud-controller-manager', 'kubelet', 'kube-proxy', 'dns', 'local-path-provisioner'],
    ...options,
    security: await securityOf(flags, options.logger),
  });
}

/** Resolves when `look` gives something; looks again and again, for what tells of itself by no event. */
export async function eventually<T>(look: () => Promise<T | undefined>, what: string, timeoutMs = 15_000): Promise<T> {
  const until = Date.now() + timeoutMs;
  for (;;) {
    const found = await look();
    if (found !== undefined) return found;
    if (Date.now() > until) throw new Error(`waited in vain for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
