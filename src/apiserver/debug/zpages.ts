/** `/statusz` and `/flagz`: what runs here and with which flags, as text for people or as objects of config.k8s.io. */
import { encodeCbor } from '../../api/codec/cbor.ts';
import { stringifyJson } from '../../api/codec/json.ts';
import { stringifyYaml } from '../../api/codec/yaml.ts';
import { StatusError } from '../../api/status.ts';
import { formatTime } from '../../api/time.ts';
import type { Clock } from '../../base/clock.ts';
import type { Random } from '../../base/random.ts';
import { noSuchMethod } from '../director.ts';
import { parseAccept } from '../encode/negotiate.ts';
import type { Handler, Scope } from '../filters/scope.ts';
import type { OutgoingResponse } from '../request.ts';
import type { Routes } from '../routes.ts';

export interface ZPagesOptions {
  readonly component: string;
  readonly clock: Clock;
  readonly random: Random;
  /** `v1.36.2+knarr.0.1.0` */
  readonly gitVersion: string;
  /** `--emulated-version`, such as 1.35; that of the program when left out. */
  readonly emulationVersion?: string | undefined;
  readonly paths: () => readonly string[];
  readonly statusz: boolean;
  /** Whether objects come as CBOR, too. */
  readonly cbor: boolean;
  /** Values by flag; undefined: no `/flagz`. */
  readonly flags: Readonly<Record<string, string>> | undefined;
}

/** Changed from answer to answer, so that nobody reads these by machine. */
const delimiters = [':', ': ', '=', ' '];
const undebugged = new Set(['/apis', '/api', '/openid', '/openapi', '/.well-known']);
const days = ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat'];
const months = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];

function header(component: string, page: string): string {
  return `\n${component} ${page}\nWarning: This endpoint is not meant to be machine parseable, has no formatting compatibility guarantees and is for debugging purposes only.\n`;
}

/** `Mon Jan _2 15:04:05 UTC 2006` */
function unixDate(ms: number): string {
  const t = new Date(ms);
  const two = (n: number): string => String(n).padStart(2, '0');
  const time = [t.getUTCHours(), t.getUTCMinutes(), t.getUTCSeconds()].map(two).join(':');
  const day = String(t.getUTCDate()).padStart(2, ' ');
  return `${days[t.getUTCDay()]} ${months[t.getUTCMonth()]} ${day} ${time} UTC ${t.getUTCFullYear()}`;
}

/** The first segments of the paths that help to find out what goes on. */
function folders(paths: readonly string[]): string[] {
  const found = new Set<string>();
  for (const path of paths) {
    const first = path.split('/')[1] ?? '';
    if (first !== '' && !undebugged.has(`/${first}`)) found.add(`/${first}`);
  }
  return [...found].sort();
}

type ObjectType = 'json' | 'yaml' | 'cbor';
type Form = { readonly type: 'text' } | { readonly type: ObjectType; readonly version: 'v1alpha1' | 'v1beta1' };

/** What the client takes: text without more, objects as one of the kind's versions. */
function formOf(scope: Scope, kind: string, cbor: boolean): Form {
  const accept = scope.request.headers['accept'] ?? '';
  if (accept.trim() === '') return { type: 'text' };
  for (const { type, subtype, params } of parseAccept(accept)) {
    const as = params.get('as');
    const any = type === '*';
    if (as === undefined && (any || (type === 'text' && (subtype === 'plain' || subtype === '*'))))
      return { type: 'text' };
    if (as !== kind || params.get('g') !== 'config.k8s.io') continue;
    const version = params.get('v');
    if (version !== 'v1alpha1' && version !== 'v1beta1') continue;
    if (any || (type === 'application' && (subtype === 'json' || subtype === '*'))) return { type: 'json', version };
    if (type === 'application' && subtype === 'yaml') return { type: 'yaml', version };
    if (cbor && type === 'application' && subtype === 'cbor') return { type: 'cbor', version };
  }
  throw new StatusError(
    406,
    'NotAcceptable',
    `only the following media types are accepted: application/json, application/yaml, text/plain${cbor ? ', application/cbor' : ''}`,
  );
}

function text(body: string): OutgoingResponse {
  return { status: 200, body: { kind: 'bytes', contentType: 'text/plain; charset=utf-8', bytes: Buffer.from(body) } };
}

const encoders: Readonly<Record<ObjectType, (object: object) => Buffer>> = {
  json: (object) => Buffer.from(`${stringifyJson(object)}\n`),
  yaml: (object) => Buffer.from(stringifyYaml(object)),
  cbor: encodeCbor,
};

/** A page as text, or as an object with `fields`. */
function page(
  cbor: boolean,
  component: string,
  name: string,
  kind: string,
  plain: () => string,
  fields: () => Readonly<Record<string, unknown>>,
): Handler {
  return (scope) => {
    if (scope.request.method !== 'GET' && scope.request.method !== 'HEAD') throw noSuchMethod();
    const form = formOf(scope, kind, cbor);
    if (form.type === 'text') return text(plain());
    if (form.version === 'v1alpha1')
      scope.warn(`This version of the ${name} endpoint is deprecated. Please use a newer version.`);
    const object = { kind, apiVersion: `config.k8s.io/${form.version}`, metadata: { name: component }, ...fields() };
    const bytes = encoders[form.type](object);
    return { status: 200, body: { kind: 'bytes', contentType: `application/${form.type}`, bytes } };
  };
}

export function installZPages(routes: Routes, options: ZPagesOptions): void {
  const { component, clock, random, flags, cbor } = options;
  const started = clock.now();
  const binaryVersion = /^v?(\d+\.\d+)/.exec(options.gitVersion)?.[1] ?? options.gitVersion;
  const emulationVersion = options.emulationVersion ?? binaryVersion;
  const goVersion = `node${process.version}`;
  const upSeconds = (): number => Math.max(0, Math.floor((clock.now() - started) / 1000));
  if (options.statusz)
    routes.add(
      '/statusz',
      page(
        cbor,
        component,
        'statusz',
        'Statusz',
        () => {
          const d = delimiters[random.int(delimiters.length)]!;
          const up = upSeconds();
          const two = (n: number): string => String(n).padStart(2, '0');
          const uptime = `${Math.floor(up / 3600)} hr ${two(Math.floor(up / 60) % 60)} min ${two(up % 60)} sec`;
          const paths = folders(options.paths());
          const lines = [
            `Started${d} ${unixDate(started)}`,
            `Up${d} ${uptime}`,
            `Go version${d} ${goVersion}`,
            `Binary version${d} ${binaryVersion}`,
            `Emulation version${d} ${emulationVersion}`,
            paths.length === 0 ? '' : `Paths${d} ${paths.join(' ')}`,
          ];
          return `${header(component, 'statusz')}\n${lines.join('\n')}\n`;
        },
        () => ({
          startTime: formatTime(started),
          uptimeSeconds: upSeconds(),
          goVersion,
          binaryVersion,
          emulationVersion,
          paths: folders(options.paths()),
        }),
      ),
    );
  if (flags === undefined) return;
  routes.add(
    '/flagz',
    page(
      cbor,
      component,
      'flagz',
      'Flagz',
      () => {
        const d = delimiters[random.int(delimiters.length)]!;
        const lines = Object.keys(flags)
          .sort()
          .map((name) => `${name}${d}${flags[name]}\n`);
        return `${header(component, 'flagz')}${lines.join('')}`;
      },
      () => ({ flags }),
    ),
  );
}
