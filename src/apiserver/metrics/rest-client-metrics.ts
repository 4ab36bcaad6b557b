/** What a component measures of the requests that it sends (the API server: to webhooks), with the names of upstream's client. */
import { HistogramVector, Vector, type Family } from './exposition.ts';

const seconds = [0.005, 0.025, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60];
const sizes = [64, 256, 512, 1024, 4096, 16_384, 65_536, 262_144, 1_048_576, 4_194_304, 16_777_216];

export interface RestClientRequest {
  readonly host: string;
  readonly method: string;
  /** Undefined: there was no answer. */
  readonly code: number | undefined;
  readonly seconds: number;
  readonly sent: number;
  /** Undefined: told by `received` later. */
  readonly received?: number;
}

export class RestClientMetrics {
  readonly #requests = new Vector(
    'counter',
    'rest_client_requests_total',
    'Number of HTTP requests, partitioned by status code, method, and host.',
  );
  readonly #seconds = new HistogramVector(
    'rest_client_request_duration_seconds',
    'Request latency in seconds. Broken down by verb, and host.',
    seconds,
  );
  readonly #sent = new HistogramVector(
    'rest_client_request_size_bytes',
    'Request size in bytes. Broken down by verb and host.',
    sizes,
  );
  readonly #received = new HistogramVector(
    'rest_client_response_size_bytes',
    'Response size in bytes. Broken down by verb and host.',
    sizes,
  );
  readonly #retries = new Vector(
    'counter',
    'rest_client_request_retries_total',
    'Number of request retries, partitioned by status code, verb, and host.',
  );
  readonly families: readonly Family[] = [this.#requests, this.#seconds, this.#sent, this.#received, this.#retries];

  done(request: RestClientRequest): void {
    const { host, method } = request;
    const code = request.code === undefined ? '<error>' : String(request.code);
    this.#requests.series(`${host} ${method} ${code}`, () => ({ code, host, method })).inc();
    const key = `${host} ${method}`;
    const labels = (): { host: string; verb: string } => ({ host, verb: method });
    this.#seconds.series(key, labels).observe(request.seconds);
    this.#sent.series(key, labels).observe(request.sent);
    if (request.code !== undefined && request.received !== undefined)
      this.#received.series(key, labels).observe(request.received);
  }

  received(host: string, method: string, bytes: number): void {
    this.#received.series(`${host} ${method}`, () => ({ host, verb: method })).observe(bytes);
  }

  retried(host: string, method: string, status: number | undefined): void {
    const code = status === undefined ? '<error>' : String(status);
    this.#retries.series(`${host} ${method} ${code}`, () => ({ code, host, verb: method })).inc();
  }
}
