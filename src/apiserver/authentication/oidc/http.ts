/** GET requests to issuers of tokens: over TLS verified by a bundle of the configuration, or by the system's authorities. */
import * as http from 'node:http';
import * as https from 'node:https';
import { ioTimer } from '../../../base/io-time.ts';
import { goNetworkError } from '../../connect/go-errors.ts';
import { SecureAgent } from '../../connect/secure-agent.ts';
import type { Dial } from '../../egress/selector.ts';

export interface HttpAnswer {
  readonly status: number;
  /** `404 Not Found` */
  readonly statusText: string;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: string;
}

const timeoutMs = 30_000;
const maxBody = 8 * 1024 * 1024;
const maxAgents = 16;

export class IssuerHttp {
  readonly #dial: Dial;
  readonly #ca: string | undefined;
  readonly #agents = new Map<string, SecureAgent>();

  /** `ca`: PEM. */
  constructor(dial: Dial, ca: string | undefined) {
    this.#dial = dial;
    this.#ca = ca;
  }

  /** @throws {Error} `Get "https://…": dial tcp …` */
  get(url: string, headers: Readonly<Record<string, string>> = {}): Promise<HttpAnswer> {
    return new Promise((resolve, reject) => {
      let target: URL;
      try {
        target = new URL(url);
      } catch (error) {
        reject(new Error(`parse ${JSON.stringify(url)}: invalid URI for request`, { cause: error }));
        return;
      }
      const secure = target.protocol === 'https:';
      const host = target.hostname.replace(/^\[|\]$/g, '');
      const port = target.port === '' ? (secure ? 443 : 80) : Number(target.port);
      const request = (secure ? https : http).request(
        target,
        {
          method: 'GET',
          headers: { accept: '*/*', ...headers },
          ...(secure ? { agent: this.#agent(host, port) } : {}),
        },
        (response) => {
          const chunks: Buffer[] = [];
          let size = 0;
          response.on('data', (chunk: Buffer) => {
            size += chunk.length;
            if (size > maxBody) response.destroy(new Error('the answer is too large'));
            else chunks.push(chunk);
          });
          response.on('error', fail);
          response.on('end', () => {
            cancel();
            const { statusCode: status = 500, statusMessage = '' } = response;
            resolve({
              status,
              statusText: `${status} ${statusMessage}`.trim(),
              headers: response.headers,
              body: Buffer.concat(chunks, size).toString('utf8'),
            });
          });
        },
      );
      let late = false;
      const cancel = ioTimer(timeoutMs, () => {
        late = true;
        request.destroy(new Error('late'));
      });
      const fail = (error: Error): void => {
        cancel();
        const why = late
          ? 'context deadline exceeded (Client.Timeout exceeded while awaiting headers)'
          : goNetworkError(error, host, port);
        reject(new Error(`Get ${JSON.stringify(url)}: ${why}`, { cause: error }));
      };
      request.on('error', fail);
      request.end();
    });
  }

  #agent(host: string, port: number): SecureAgent {
    const key = `${host}:${port}`;
    let agent = this.#agents.get(key);
    if (agent !== undefined) return agent;
    agent = new SecureAgent({ serverName: host, ca: this.#ca, dial: () => this.#dial(host, port) });
    this.#agents.set(key, agent);
    if (this.#agents.size > maxAgents) {
      const [oldest, last] = this.#agents.entries().next().value!;
      this.#agents.delete(oldest);
      last.destroy();
    }
    return agent;
  }

  close(): void {
    for (const agent of this.#agents.values()) agent.destroy();
    this.#agents.clear();
  }
}
