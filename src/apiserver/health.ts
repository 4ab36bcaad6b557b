/**
 * `/healthz`, `/livez` and `/readyz`: named checks, `?verbose`, `?exclude=`, one path a check; texts as upstream's. Errors
 * go to the log, never to the (public) answer.
 */
import type { Logger } from '../base/logger.ts';
import { HealthMetrics } from './metrics/health-metrics.ts';
import type { Scope } from './filters/scope.ts';
import type { OutgoingResponse } from './request.ts';
import type { Routes } from './routes.ts';

/** Throws (or rejects) with the reason when unhealthy. */
export type HealthCheck = () => void | Promise<void>;

export type HealthPath = 'healthz' | 'livez' | 'readyz';

interface NamedCheck {
  readonly name: string;
  readonly check: HealthCheck;
  readonly paths: readonly HealthPath[];
  readonly group: string | undefined;
}

const everywhere: readonly HealthPath[] = ['healthz', 'livez', 'readyz'];

function text(status: number, body: string): OutgoingResponse {
  return {
    status,
    headers: { 'x-content-type-options': 'nosniff' },
    body: { kind: 'bytes', contentType: 'text/plain; charset=utf-8', bytes: Buffer.from(body) },
  };
}

export class Health {
  readonly #logger: Logger;
  readonly #checks: NamedCheck[] = [];
  readonly metrics: HealthMetrics = new HealthMetrics();

  constructor(logger: Logger) {
    this.#logger = logger;
    this.add('ping', () => {});
    this.add('log', () => {});
  }

  /** Adds a check. `paths`: where it counts; everywhere by default. `group`: what excludes it beside its name. */
  add(name: string, check: HealthCheck, paths: readonly HealthPath[] = everywhere, group?: string): void {
    // What is done after the start stands last.
    const before = name.includes('/') ? -1 : this.#checks.findIndex((c) => c.name.startsWith('poststarthook/'));
    const last = before < 0 || name === 'shutdown' || name === 'autoregister-completion';
    this.#checks.splice(last ? this.#checks.length : before, 0, { name, check, paths, group });
  }

  install(routes: Routes): void {
    for (const path of everywhere) {
      routes.add(`/${path}`, (scope) => this.#root(scope, path));
      routes.addPrefix(`/${path}/`, (scope) => this.#one(scope, path));
    }
  }

  paths(): string[] {
    return everywhere.flatMap((p) => this.#of(p).map((c) => `/${p}/${c.name}`));
  }

  #of(path: HealthPath): NamedCheck[] {
    return this.#checks.filter((c) => c.paths.includes(path));
  }

  async #root(scope: Scope, path: HealthPath): Promise<OutgoingResponse> {
    const query = scope.request.query;
    const excluded = new Set(query.getAll('exclude'));
    const unknown = new Set(excluded);
    let output = '';
    const failed: string[] = [];
    for (const { name, check, group } of this.#of(path)) {
      if (excluded.has(name)) {
        unknown.delete(name);
        output += `[+]${name} excluded: ok\n`;
        continue;
      }
      if (group !== undefined && excluded.has(group)) {
        unknown.delete(group);
        output += `[+]${name} excluded with ${group}: ok\n`;
        continue;
      }
      try {
        await check();
        this.metrics.observe(name, path, true);
        output += `[+]${name} ok\n`;
      } catch (error) {
        this.metrics.observe(name, path, false);
        output += `[-]${name} failed: reason withheld\n`;
        failed.push(name);
        this.#logger.info('health check failed', { check: name, path, error });
      }
    }
    if (unknown.size > 0) {
      const names = [...unknown].sort().map((n) => JSON.stringify(n));
      output += `warn: some health checks cannot be excluded: no matches for ${names.join(',')}\n`;
    }
    if (failed.length > 0) return text(500, `${output}${path} check failed\n`);
    return text(200, query.has('verbose') ? `${output}${path} check passed\n` : 'ok');
  }

  async #one(scope: Scope, path: HealthPath): Promise<OutgoingResponse> {
    const name = scope.info.path.slice(path.length + 2);
    const found = this.#of(path).find((c) => c.name === name);
    if (found === undefined) return text(404, '404 page not found\n');
    try {
      await found.check();
      return text(200, 'ok');
    } catch (error) {
      return text(500, `internal server error: ${error instanceof Error ? error.message : String(error)}\n`);
    }
  }
}
