/**
 * Content negotiation of answers: the `Accept` header with qualities and the parameters `as`, `g`, `v`, `stream` and
 * `pretty`, with upstream's rules for which transformations an endpoint offers.
 */
import { parseBool } from '../../base/parse-bool.ts';
import { StatusError } from '../../api/status.ts';
import type { IncomingRequest } from '../request.ts';

export type Format = 'json' | 'yaml' | 'protobuf' | 'cbor';

/** What the answer shall look like. */
export interface Negotiated {
  readonly format: Format;
  readonly pretty: boolean;
  /** A transformation of meta.k8s.io; empty for none. `PodAddresses` is asked for by nobody: it is all that a node is shown. */
  readonly as: '' | 'Table' | 'PartialObjectMetadata' | 'PartialObjectMetadataList' | 'PodAddresses';
  /** Version of meta.k8s.io in which the transformed object stands. */
  readonly asVersion: 'v1' | 'v1beta1';
}

/** What an endpoint offers. */
export interface Offer {
  /** PartialObjectMetadata, and Table where `tables` says so, too. */
  readonly transforms: boolean;
  /** False for what is only asked and never kept (reviews, bindings, evictions): nothing knows their columns. */
  readonly tables: boolean;
  /** The answer is a stream of events. */
  readonly watch: boolean;
  /** The kind can be written as protobuf, and so can its events. */
  readonly protobuf: boolean;
  /** CBORServingAndStorage is on. */
  readonly cbor?: boolean;
}

export const plainJson: Negotiated = { format: 'json', pretty: false, as: '', asVersion: 'v1' };
const prettyJson: Negotiated = { format: 'json', pretty: true, as: '', asVersion: 'v1' };

export const mediaTypes: Readonly<Record<Format, string>> = {
  json: 'application/json',
  yaml: 'application/yaml',
  protobuf: 'application/vnd.kubernetes.protobuf',
  cbor: 'application/cbor',
};

interface Clause {
  readonly type: string;
  readonly subtype: string;
  readonly q: number;
  readonly params: ReadonlyMap<string, string>;
}

export function parseAccept(header: string): Clause[] {
  const clauses: Clause[] = [];
  for (const part of header.split(',')) {
    const pieces = part.split(';');
    const media = pieces[0]!.trim().toLowerCase();
    if (media === '') continue;
    const slash = media.indexOf('/');
    const type = slash < 0 ? media : media.slice(0, slash);
    const subtype = slash < 0 ? (media === '*' ? '*' : '') : media.slice(slash + 1);
    let q = 1;
    const params = new Map<string, string>();
    for (let i = 1; i < pieces.length; i++) {
      const piece = pieces[i]!;
      const eq = piece.indexOf('=');
      if (eq < 0) continue;
      const key = piece.slice(0, eq).trim();
      const value = piece.slice(eq + 1).trim();
      if (key === 'q') {
        const n = Number(value);
        q = Number.isNaN(n) ? 1 : n;
      } else params.set(key, value);
    }
    clauses.push({ type, subtype, q, params });
  }
  const rank = (c: Clause): number => (c.type === '*' ? 2 : c.subtype === '*' ? 1 : 0);
  return clauses.sort((a, b) => b.q - a.q || rank(a) - rank(b));
}

const formats: readonly { format: Format; subtype: string }[] = [
  { format: 'json', subtype: 'json' },
  { format: 'yaml', subtype: 'yaml' },
  { format: 'protobuf', subtype: 'vnd.kubernetes.protobuf' },
  { format: 'cbor', subtype: 'cbor' },
];

function accepts(clause: Clause, format: Format, offer: Offer): Negotiated | undefined {
  const as = clause.params.get('as') ?? '';
  const group = clause.params.get('g') ?? '';
  const version = clause.params.get('v') ?? '';
  const stream = clause.params.get('stream') ?? '';
  const sv = clause.params.get('sv') ?? '';
  if (stream !== '' && (stream !== 'watch' || format === 'yaml')) return undefined;
  if (sv !== '') return undefined;
  const pretty = clause.params.get('pretty') === '1';
  if (as === '' && group === '' && version === '') {
    if (format === 'protobuf' && !offer.protobuf) return undefined;
    return { format, pretty, as: '', asVersion: 'v1' };
  }
  if (!offer.transforms || group !== 'meta.k8s.io' || (version !== 'v1' && version !== 'v1beta1')) return undefined;
  switch (as) {
    case 'Table':
      // Tables are JSON or YAML.
      if ((format !== 'json' && format !== 'yaml') || !offer.tables) return undefined;
      return { format, pretty, as, asVersion: version };
    case 'PartialObjectMetadata':
    case 'PartialObjectMetadataList':
      return { format, pretty, as, asVersion: version };
    default:
      return undefined;
  }
}

/** 406 with upstream's text. */
export function notAcceptable(watch: boolean, cbor = false): StatusError {
  const types = watch
    ? 'application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch'
    : 'application/json, application/yaml, application/vnd.kubernetes.protobuf';
  const more = cbor ? (watch ? ', application/cbor-seq' : ', application/cbor') : '';
  return new StatusError(406, 'NotAcceptable', `only the following media types are accepted: ${types}${more}`);
}

/** `pretty` in the query, or a client that a person looks at. */
export function asksPretty(request: IncomingRequest): boolean {
  const raw = request.rawQuery;
  if (raw === undefined || raw.includes('pretty')) {
    const value = request.query.get('pretty');
    if (value !== null && value !== '') return parseBool(value) ?? false;
  }
  const agent = request.headers['user-agent'];
  if (agent === undefined) return false;
  return agent.startsWith('curl') || agent.startsWith('Wget') || agent.startsWith('Mozilla/5.0');
}

/** Remembers what the few `Accept` headers in use mean. */
export class Negotiator {
  readonly #parsed = new Map<string, readonly Clause[]>();

  #clauses(header: string): readonly Clause[] {
    let clauses = this.#parsed.get(header);
    if (clauses === undefined) {
      clauses = parseAccept(header);
      if (this.#parsed.size >= 64) this.#parsed.clear();
      if (header.length <= 512) this.#parsed.set(header, clauses);
    }
    return clauses;
  }

  /** Undefined when nothing that the client accepts is offered. */
  find(request: IncomingRequest, offer: Offer): Negotiated | undefined {
    const header = request.headers['accept'] ?? '';
    let found: Negotiated | undefined;
    if (header === '' || header === 'application/json' || header === '*/*') found = plainJson;
    else {
      search: for (const clause of this.#clauses(header)) {
        for (const { format, subtype } of formats) {
          // Metadata alone has a protobuf form whatever the object has.
          if (format === 'protobuf' && !offer.protobuf && !offer.transforms) continue;
          if (format === 'cbor' && offer.cbor !== true) continue;
          const typeFits = clause.type === 'application' || clause.type === '*';
          const fits =
            typeFits && (clause.subtype === '*' || (clause.type === 'application' && clause.subtype === subtype));
          if (!fits) continue;
          found = accepts(clause, format, offer);
          if (found !== undefined) break search;
        }
      }
    }
    if (found === undefined || (offer.watch && found.format === 'yaml')) return undefined;
    if (found.pretty || request.wantsObjects || !asksPretty(request)) return found;
    return found === plainJson ? prettyJson : { ...found, pretty: true };
  }

  /** Throws 406 when nothing that the client accepts is offered. */
  negotiate(request: IncomingRequest, offer: Offer): Negotiated {
    const found = this.find(request, offer);
    // Only what could be given, but not streamed, is told the types of streams.
    if (found === undefined)
      throw notAcceptable(offer.watch && this.find(request, { ...offer, watch: false }) !== undefined, offer.cbor);
    return found;
  }
}
