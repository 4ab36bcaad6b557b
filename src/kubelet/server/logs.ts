/** `/containerLogs/{namespace}/{pod}/{container}`: a container's log, from where the query says, followed when asked. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { once } from 'node:events';
import type { Clock } from '../../base/clock.ts';
import { timeMs } from '../../api/time.ts';
import type { ContainerStatus, Pod } from '../../api/types/index.gen.ts';
import type { LogEntry, NodeHost } from '../host/node-host.ts';
import type { ContainerRuntime } from '../runtime/container-runtime.ts';
import { RuntimeError } from '../runtime/container-runtime.ts';
import type { PodSource } from './pod-source.ts';
import { containerSpec, HttpError, isRunning } from './target.ts';

export interface LogQuery {
  readonly follow: boolean;
  readonly previous: boolean;
  readonly timestamps: boolean;
  readonly tailLines: number | undefined;
  /** Milliseconds since the epoch. */
  readonly since: number | undefined;
  readonly limitBytes: number | undefined;
  readonly stream: 'All' | 'Stdout' | 'Stderr';
}

const undecodable = (): HttpError => new HttpError(400, '{"message": "Unable to decode query."}');
const invalid = (): HttpError => new HttpError(422, '{"message": "Invalid request."}');

/** Reads and checks PodLogOptions of a query; throws 400 and 422 with upstream's texts. */
export function logQuery(query: URLSearchParams, now: number): LogQuery {
  const integer = (name: string): number | undefined => {
    const text = query.get(name);
    if (text === null || text === '') return undefined;
    if (!/^[-+]?\d+$/.test(text)) throw undecodable();
    return Number(text);
  };
  const flag = (name: string): boolean => {
    const text = query.get(name)?.toLowerCase();
    return text !== undefined && text !== 'false' && text !== '0';
  };
  const tail = query.get('tail');
  const tailLines = tail === 'all' ? undefined : tail === null || tail === '' ? integer('tailLines') : integer('tail');
  const sinceSeconds = integer('sinceSeconds');
  const sinceText = query.get('sinceTime') ?? '';
  const sinceTime = sinceText === '' ? undefined : timeMs(sinceText);
  if (sinceTime !== undefined && Number.isNaN(sinceTime)) throw undecodable();
  const limitBytes = integer('limitBytes');
  const stream = query.get('stream') ?? 'All';
  if (tailLines !== undefined && tailLines < 0) throw invalid();
  if (limitBytes !== undefined && limitBytes < 1) throw invalid();
  if (sinceSeconds !== undefined && (sinceSeconds < 1 || sinceTime !== undefined)) throw invalid();
  if (stream !== 'All' && stream !== 'Stdout' && stream !== 'Stderr') throw invalid();
  if (stream !== 'All' && tailLines !== undefined) throw invalid();
  return {
    follow: flag('follow'),
    previous: flag('previous'),
    timestamps: flag('timestamps'),
    tailLines,
    since: sinceSeconds === undefined ? sinceTime : now - sinceSeconds * 1000,
    limitBytes,
    stream,
  };
}

function statusOf(pod: Pod, container: string): ContainerStatus | undefined {
  const s = pod.status;
  for (const list of [s?.containerStatuses, s?.initContainerStatuses, s?.ephemeralContainerStatuses]) {
    const found = list?.find((c) => c.name === container);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** Why a container has no log, in upstream's words. */
function noLog(pod: Pod, container: string, previous: boolean): HttpError {
  const about = `container ${JSON.stringify(container)} in pod ${JSON.stringify(pod.metadata.name ?? '')}`;
  const status = statusOf(pod, container);
  if (status === undefined) return new HttpError(400, `${about} is not available`);
  if (previous) return new HttpError(400, `previous terminated ${about} not found`);
  if (status.state?.terminated !== undefined || status.lastState?.terminated !== undefined)
    return new HttpError(400, `${about} is terminated`);
  const waiting = status.state?.waiting;
  if (waiting === undefined) return new HttpError(400, `${about} is waiting to start - no logs yet`);
  switch (waiting.reason) {
    case 'ErrImagePull':
      return new HttpError(400, `${about} is waiting to start: image can't be pulled`);
    case 'ImagePullBackOff':
      return new HttpError(400, `${about} is waiting to start: trying and failing to pull image`);
    default:
      return new HttpError(400, `${about} is waiting to start: ${waiting.reason ?? ''}`);
  }
}

/** Turns entries into the bytes that go to the client, up to the limit. */
class LogWriter {
  readonly #query: LogQuery;
  #left: number;
  #midLine = { stdout: false, stderr: false };

  constructor(query: LogQuery) {
    this.#query = query;
    this.#left = query.limitBytes ?? Infinity;
  }

  get full(): boolean {
    return this.#left <= 0;
  }

  bytes(entries: readonly LogEntry[]): Buffer {
    const { stream, timestamps } = this.#query;
    const parts: Buffer[] = [];
    for (const entry of entries) {
      if (stream !== 'All' && (stream === 'Stdout') !== (entry.stream === 'stdout')) continue;
      // A long line is kept in several entries; its time stands once.
      if (timestamps && !this.#midLine[entry.stream]) parts.push(Buffer.from(`${entry.time} `));
      this.#midLine[entry.stream] = entry.partial;
      parts.push(entry.data);
    }
    let out = Buffer.concat(parts);
    if (out.length > this.#left) out = out.subarray(0, this.#left);
    this.#left -= out.length;
    return out;
  }
}

export interface LogDeps {
  readonly runtime: ContainerRuntime;
  readonly host: NodeHost;
  readonly pods: PodSource;
  readonly clock: Clock;
}

/** Answers the request; throws `HttpError` as long as nothing has been sent. */
export async function serveContainerLogs(
  deps: LogDeps,
  target: { namespace: string; name: string; container: string },
  query: URLSearchParams,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const options = logQuery(query, deps.clock.now());
  const sourced = deps.pods.get(target.namespace, target.name);
  const podName = JSON.stringify(target.name);
  if (sourced === undefined) throw new HttpError(404, `pod ${podName} does not exist`);
  if (containerSpec(sourced.pod, target.container) === undefined)
    throw new HttpError(404, `container ${JSON.stringify(target.container)} not found in pod ${podName}`);
  const id = sourced.containerId(target.container, options.previous);
  if (id === undefined) throw noLog(sourced.pod, target.container, options.previous);

  let path: string;
  try {
    path = (await deps.runtime.containerStatus(id)).logPath;
  } catch (error) {
    if (!(error instanceof RuntimeError)) throw error;
    throw new HttpError(400, `unable to retrieve container logs for ${id}`, { cause: error });
  }
  const gone = new AbortController();
  const leave = (): void => gone.abort();
  response.once('close', leave);
  request.once('error', leave);
  response.writeHead(200, { 'content-type': 'text/plain; charset=utf-8', 'transfer-encoding': 'chunked' });
  // The client learns at once that there is a log, even when nothing has been written to it.
  response.flushHeaders();
  const writer = new LogWriter(options);
  const batches = deps.host.readLog(path, {
    ...(options.tailLines === undefined ? {} : { tailLines: options.tailLines }),
    ...(options.since === undefined ? {} : { since: options.since }),
    follow: options.follow,
    ended: async () => !(await isRunning(deps.runtime, id)),
    signal: gone.signal,
  });
  for await (const batch of batches) {
    const bytes = writer.bytes(batch);
    if (gone.signal.aborted) break;
    if (bytes.length > 0 && !response.write(bytes))
      await Promise.race([once(response, 'drain'), once(response, 'close')]);
    if (writer.full || gone.signal.aborted) break;
  }
  response.end();
}
