/** Static pods that are fetched by HTTP (staticPodURL): asked for by the clock; what was fetched last holds while it fails. */
import { request } from 'node:http';
import type { IncomingMessage } from 'node:http';
import { connect as tlsConnect } from 'node:tls';
import type { Timer } from '../../base/clock.ts';
import { parseDuration } from '../../api/time.ts';
import type { Pod } from '../../api/types/index.gen.ts';
import type { KubeletConfiguration } from '../configuration/configuration.ts';
import type { KubeletContext } from '../context.ts';
import { within } from '../probes/probe-support.ts';
import { parseManifest } from './static-pod-manifest.ts';

const maxBytes = 10 * 1024 * 1024;
const timeoutMs = 10_000;
const maxRedirects = 10;
/** Failures in a row that are worth a line each. */
const loudFailures = 4;

type Headers = Readonly<Record<string, readonly string[]>>;

export class StaticPodUrl {
  readonly #ctx: KubeletContext;
  readonly #url: string;
  readonly #headers: Headers;
  readonly #everyMs: number;
  readonly #changed: () => void;
  #pods: readonly Pod[] = [];
  #data: Buffer | undefined;
  #failures = 0;
  #ticker: Timer | undefined;
  #busy = false;

  /** @param changed told when there are other pods than before */
  constructor(ctx: KubeletContext, configuration: KubeletConfiguration, changed: () => void) {
    this.#ctx = ctx;
    this.#url = configuration.staticPodURL;
    this.#headers = configuration.staticPodURLHeader;
    this.#everyMs = parseDuration(configuration.httpCheckFrequency);
    this.#changed = changed;
  }

  get pods(): readonly Pod[] {
    return this.#pods;
  }

  /** Asks once, and then by the clock. Nothing waits for a server that does not answer. */
  start(): void {
    if (this.#url === '') return;
    const { clock } = this.#ctx;
    this.#ticker = clock.setTicker(this.#everyMs, () => void clock.activity.track(this.#ask()));
    void clock.activity.track(this.#ask());
  }

  stop(): void {
    this.#ticker?.cancel();
  }

  async #ask(): Promise<void> {
    if (this.#busy) return;
    this.#busy = true;
    const { logger } = this.#ctx;
    try {
      await this.#read();
      if (this.#failures > 0) logger.info('Successfully read pods from URL');
      this.#failures = 0;
    } catch (error) {
      if (this.#failures++ < loudFailures) logger.warn('Failed to read pods from URL', { url: this.#url, error });
    } finally {
      this.#busy = false;
    }
  }

  async #read(): Promise<void> {
    const { clock, nodeName } = this.#ctx;
    const data = await within(
      timeoutMs,
      (signal) => this.#fetch(signal),
      () => new Error(`Get "${this.#url}": context deadline exceeded`),
    );
    if (data.length === 0) {
      this.#use([]);
      throw new Error(`zero-length data received from ${this.#url}`);
    }
    if (this.#data?.equals(data) === true) return;
    this.#data = data;
    this.#use(await parseManifest(data, { kind: 'http', at: this.#url }, nodeName, clock.now()));
  }

  #use(pods: readonly Pod[]): void {
    this.#pods = pods;
    this.#changed();
  }

  async #fetch(signal: AbortSignal): Promise<Buffer> {
    let url = new URL(this.#url);
    for (let hop = 0; hop < maxRedirects; hop++) {
      const { status, location, body } = await this.#get(url, signal);
      if (status === 200) return body;
      if (status < 300 || status >= 400 || location === undefined) throw new Error(`${url.href}: ${status}`);
      url = new URL(location, url);
    }
    throw new Error(`Get "${this.#url}": stopped after ${maxRedirects} redirects`);
  }

  async #get(
    url: URL,
    signal: AbortSignal,
  ): Promise<{ readonly status: number; readonly location: string | undefined; readonly body: Buffer }> {
    const secure = url.protocol === 'https:';
    const host = url.hostname.replace(/^\[(.*)\]$/, '$1');
    const port = url.port === '' ? (secure ? 443 : 80) : Number(url.port);
    const stream = await this.#ctx.host.dialTcp(host, port, { signal });
    const socket = secure ? tlsConnect({ socket: stream, servername: host }) : stream;
    const abort = () => stream.destroy();
    signal.addEventListener('abort', abort, { once: true });
    const headers: Record<string, string | string[]> = { host: url.host, connection: 'close' };
    for (const [name, values] of Object.entries(this.#headers)) headers[name.toLowerCase()] = [...values];
    if (Array.isArray(headers['host'])) headers['host'] = headers['host'][0] ?? url.host;
    try {
      return await new Promise((resolve, reject) => {
        socket.once('error', reject);
        const asked = request(
          { createConnection: () => socket, method: 'GET', path: url.pathname + url.search, headers },
          (answer: IncomingMessage) => {
            const chunks: Buffer[] = [];
            let size = 0;
            answer.on('data', (chunk: Buffer) => {
              size += chunk.length;
              if (size > maxBytes) reject(new Error(`more than ${maxBytes} bytes received from ${url.href}`));
              else chunks.push(chunk);
            });
            answer.on('end', () =>
              resolve({
                status: answer.statusCode ?? 0,
                location: answer.headers.location,
                body: Buffer.concat(chunks),
              }),
            );
            answer.on('error', reject);
          },
        );
        asked.on('error', reject);
        asked.end();
      });
    } finally {
      signal.removeEventListener('abort', abort);
      stream.destroy();
    }
  }
}
