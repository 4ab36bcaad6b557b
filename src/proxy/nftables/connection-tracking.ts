/**
 * Forgets connections of UDP Services that lead to endpoints which are no more: the kernel goes on sending a client's packets where it
 * sent the first one, for as long as they come. By upstream's rules (pkg/proxy/conntrack): entries to a Service's address whose answers
 * come from none of its serving endpoints; a Service without any is left alone.
 */
import type { Logger } from '../../base/logger.ts';
import type { Frontend } from '../backend.ts';
import type { ProxyHost } from '../host/proxy-host.ts';

/** Entries deleted one by one in a run; what is left waits for the next change. */
const maxDeletions = 1000;

const tuple = /src=(\S+) dst=(\S+) sport=(\d+) dport=(\d+)/g;

interface Stale {
  readonly destination: string;
  readonly port: string;
  readonly answerFrom: string;
  readonly answerPort: string;
}

export class ConnectionTracking {
  readonly #host: ProxyHost;
  readonly #logger: Logger;
  readonly #observe: (family: 4 | 6, seconds: number, deleted: number) => void;
  readonly #now: () => number;
  #warned = false;

  constructor(
    host: ProxyHost,
    logger: Logger,
    now: () => number,
    observe: (family: 4 | 6, seconds: number, deleted: number) => void,
  ) {
    this.#host = host;
    this.#logger = logger;
    this.#now = now;
    this.#observe = observe;
  }

  /** Cleans up behind UDP frontends of one family. Never rejects: what could not be done is logged. */
  async clean(family: 4 | 6, frontends: readonly Frontend[]): Promise<void> {
    const byAddress = new Map<string, ReadonlySet<string>>();
    const byNodePort = new Map<string, ReadonlySet<string>>();
    for (const f of frontends) {
      const serving = new Set(f.source.endpoints.filter((e) => e.serving).map((e) => `${e.address} ${e.port}`));
      if (serving.size === 0) continue;
      if (f.kind === 'nodePort') byNodePort.set(String(f.port), serving);
      else byAddress.set(`${f.address} ${f.port}`, serving);
    }
    if (byAddress.size === 0 && byNodePort.size === 0) return;
    const began = this.#now();
    const version = ['-f', family === 4 ? 'ipv4' : 'ipv6'];
    const stale = new Map<string, Stale>();
    try {
      await this.#host.conntrack(['-L', ...version, '-p', 'udp'], (line) => {
        const [there, back] = [...line.matchAll(tuple)];
        if (there === undefined || back === undefined || stale.size >= maxDeletions) return;
        const [, , destination = '', , port = ''] = there;
        const [, answerFrom = '', , answerPort = ''] = back;
        const serving = byAddress.get(`${destination} ${port}`) ?? byNodePort.get(port);
        if (serving === undefined || serving.has(`${answerFrom} ${answerPort}`)) return;
        stale.set(`${destination} ${port} ${answerFrom} ${answerPort}`, { destination, port, answerFrom, answerPort });
      });
      for (const s of stale.values())
        await this.#host.conntrack([
          ...['-D', ...version, '-p', 'udp', '--orig-dst', s.destination, '--orig-port-dst', s.port],
          ...['--reply-src', s.answerFrom, '--reply-port-src', s.answerPort],
        ]);
      this.#warned = false;
    } catch (error) {
      if (!this.#warned) this.#logger.warn('old UDP connections could not be ended', { error });
      this.#warned = true;
    }
    this.#observe(family, (this.#now() - began) / 1000, stale.size);
  }
}
