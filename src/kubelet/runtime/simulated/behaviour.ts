/** Reads a container's `Behaviour` from the node's, the image's and the pod's settings. */
import { parseQuantity, quantityToNumber } from '../../../api/quantity.ts';
import type { StringMap } from '../container-runtime.ts';
import type { Behaviour } from './images.ts';

/** Prefix of the annotations that set the behaviour of simulated containers. */
export const behaviourPrefix = 'knarr.dev/simulated.';
/** Annotation with `host:port` (all ports) or `port=host:port,…`: a process of this machine that answers for the pod. */
export const backendAnnotation = 'knarr.dev/backend';

const unit: Record<string, number> = { ns: 1e-6, us: 1e-3, µs: 1e-3, ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** `1h2m3.5s` (Go's notation) in milliseconds; undefined when it is none. */
export function parseDuration(text: string): number | undefined {
  if (!/^(\d*\.?\d+(ns|us|µs|ms|s|m|h))+$/.test(text)) return text === '0' ? 0 : undefined;
  let ms = 0;
  for (const m of text.matchAll(/(\d*\.?\d+)(ns|us|µs|ms|s|m|h)/g)) ms += Number(m[1]) * unit[m[2]!]!;
  return ms;
}

type Reader = (text: string) => Partial<Behaviour> | undefined;

const duration =
  (key: keyof Behaviour): Reader =>
  (text) => {
    const ms = parseDuration(text);
    return ms === undefined ? undefined : { [key]: ms };
  };
const word =
  (key: keyof Behaviour): Reader =>
  (text) => ({ [key]: text });
const integer =
  (key: keyof Behaviour): Reader =>
  (text) =>
    /^\d+$/.test(text) ? { [key]: Number(text) } : undefined;
const amount =
  (key: keyof Behaviour): Reader =>
  (text) => {
    try {
      return { [key]: quantityToNumber(parseQuantity(text)) };
    } catch {
      return undefined;
    }
  };

const readers: Readonly<Record<string, Reader>> = {
  'start-delay': duration('startDelayMs'),
  'start-error': word('startError'),
  'pull-delay': duration('pullDelayMs'),
  'pull-error': word('pullError'),
  'exit-after': duration('exitAfterMs'),
  'exit-code': integer('exitCode'),
  'exit-reason': word('exitReason'),
  'ready-after': duration('readyAfterMs'),
  'stop-delay': duration('stopDelayMs'),
  ports: (text) => ({
    ports: text
      .split(',')
      .map((p) => Number(p.trim()))
      .filter((p) => p > 0),
  }),
  'http-status': integer('httpStatus'),
  log: word('log'),
  cpu: amount('cpuCores'),
  memory: amount('memoryBytes'),
};

const none: Behaviour = {};

/** What a pod's annotations say about one of its containers (or, without a name, about all). Malformed values are ignored. */
export function annotatedBehaviour(annotations: StringMap, container?: string): Behaviour {
  let out: Behaviour = none;
  let own: Behaviour = none;
  for (const key in annotations) {
    if (!key.startsWith(behaviourPrefix)) continue;
    const name = key.slice(behaviourPrefix.length);
    const dot = name.indexOf('.');
    if (dot !== -1 && name.slice(dot + 1) !== container) continue;
    const read = readers[dot === -1 ? name : name.slice(0, dot)]?.(annotations[key]!);
    if (read === undefined) continue;
    if (dot === -1) out = { ...out, ...read };
    else own = { ...own, ...read };
  }
  return own === none ? out : { ...out, ...own };
}

/** The later ones win. */
export function mergeBehaviours(...all: readonly (Behaviour | undefined)[]): Behaviour {
  let out: Behaviour = none;
  for (const b of all) {
    if (b === undefined || b === none) continue;
    out = out === none ? b : { ...out, ...b };
  }
  return out;
}

/** The machine's address that stands behind a pod's port; undefined when the pod is not backed. */
export function backendFor(annotations: StringMap, port: number): { host: string; port: number } | undefined {
  const text = annotations[backendAnnotation];
  if (text === undefined) return undefined;
  for (const part of text.split(',')) {
    const m = /^\s*(?:(\d+)=)?(.+):(\d+)\s*$/.exec(part);
    if (m !== null && (m[1] === undefined || Number(m[1]) === port))
      return { host: m[2]!.replace(/^\[|\]$/g, ''), port: Number(m[3]) };
  }
  return undefined;
}
