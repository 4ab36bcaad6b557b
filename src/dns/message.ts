/** Questions and answers as the plugins of a server block hand them on, apart from their form on the wire. */

/** Record types by number. */
export const types = {
  A: 1,
  NS: 2,
  MD: 3,
  MF: 4,
  CNAME: 5,
  SOA: 6,
  PTR: 12,
  HINFO: 13,
  MINFO: 14,
  MX: 15,
  TXT: 16,
  RP: 17,
  AFSDB: 18,
  SIG: 24,
  KEY: 25,
  AAAA: 28,
  LOC: 29,
  SRV: 33,
  NAPTR: 35,
  KX: 36,
  CERT: 37,
  DNAME: 39,
  OPT: 41,
  DS: 43,
  SSHFP: 44,
  RRSIG: 46,
  NSEC: 47,
  DNSKEY: 48,
  NSEC3: 50,
  TLSA: 52,
  SVCB: 64,
  HTTPS: 65,
  SPF: 99,
  IXFR: 251,
  AXFR: 252,
  ANY: 255,
  CAA: 257,
} as const;

export type TypeName = keyof typeof types;

const nameOfType = new Map<number, string>(Object.entries(types).map(([name, number]) => [number, name]));

export function typeName(type: number): string {
  return nameOfType.get(type) ?? `TYPE${type}`;
}

/** The number of `A`, `AAAA`, … or `TYPE65`; undefined when there is no such type. */
export function typeNumber(name: string): number | undefined {
  const upper = name.toUpperCase();
  if (Object.hasOwn(types, upper)) return types[upper as TypeName];
  const m = /^TYPE(\d{1,5})$/.exec(upper);
  return m !== null && Number(m[1]) < 65_536 ? Number(m[1]) : undefined;
}

export const classes: Readonly<Record<string, number>> = { IN: 1, CS: 2, CH: 3, HS: 4, NONE: 254, ANY: 255 };

export function className(number: number): string {
  return Object.keys(classes).find((k) => classes[k] === number) ?? `CLASS${number}`;
}

export const rcodes = {
  NOERROR: 0,
  FORMERR: 1,
  SERVFAIL: 2,
  NXDOMAIN: 3,
  NOTIMP: 4,
  REFUSED: 5,
  YXDOMAIN: 6,
  YXRRSET: 7,
  NXRRSET: 8,
  NOTAUTH: 9,
  NOTZONE: 10,
  BADVERS: 16,
} as const;

const nameOfCode = new Map<number, string>(Object.entries(rcodes).map(([name, number]) => [number, name]));

export function rcodeName(code: number): string {
  return nameOfCode.get(code) ?? `RCODE${code}`;
}

/** `NXDOMAIN` or `3`; undefined for what is neither. */
export function rcodeNumber(text: string): number | undefined {
  if (/^\d+$/.test(text)) return Number(text) < 4096 ? Number(text) : undefined;
  const upper = text.toUpperCase();
  return Object.hasOwn(rcodes, upper) ? rcodes[upper as keyof typeof rcodes] : undefined;
}

/** One resource record; `data` as on the wire, names in it whole. */
export interface Rr {
  readonly name: string;
  readonly type: number;
  readonly cls: number;
  readonly ttl: number;
  readonly data: Buffer;
}

export type Transport = 'udp' | 'tcp' | 'local';

export interface Client {
  readonly address: string;
  readonly port: number;
  readonly transport: Transport;
  /** Where it was received. */
  readonly local: string;
}

/** A question on its way through the plugins; a plugin that changes it hands on a copy. */
export interface Request {
  /** Normalized. */
  readonly name: string;
  /** As it was asked, with the dot at its end. */
  readonly asked: string;
  readonly type: number;
  readonly cls: number;
  readonly id: number;
  readonly opcode: number;
  /** Recursion desired, checking disabled, authentic data. */
  readonly rd: boolean;
  readonly cd: boolean;
  readonly ad: boolean;
  /** DNSSEC records wanted. */
  readonly dnssec: boolean;
  /** What the client takes by EDNS; undefined: it speaks no EDNS. */
  readonly bufferSize: number | undefined;
  /** EDNS options, as they came. */
  readonly options: Buffer | undefined;
  /** Length of the message. */
  readonly length: number;
  readonly client: Client;
  /** Lookups that one answer set off (ExternalName, rewritten targets): how many lie above this one. */
  readonly depth: number;
  /** False: answered from what is here alone; nobody outside is asked. */
  readonly outside: boolean;
}

/** Until when, and as long as what stays as it is, an answer may be given again from its bytes. */
export interface Reusable {
  /** Slots of `Stamps` and what they held when the answer was made. */
  readonly slots: readonly number[];
  readonly stamps: readonly number[];
  /** The answer's zone has a serial number, which is given anew each time. */
  readonly serial?: () => number;
  /** Of a cached answer: when it ends, and since when its records age, in monotonic milliseconds. */
  readonly until?: number;
  readonly since?: number;
  /** Called each time; false: the answer is to be made anew. */
  readonly used?: () => boolean;
}

export interface Reply {
  readonly rcode: number;
  readonly authoritative: boolean;
  readonly recursion: boolean;
  readonly authentic: boolean;
  readonly truncated: boolean;
  readonly answers: readonly Rr[];
  readonly authority: readonly Rr[];
  readonly additional: readonly Rr[];
  /** EDNS options for the client. */
  readonly options?: Buffer;
  /** The plugin that gave it. */
  readonly plugin: string;
  /** Why it is a failure, for the log. */
  readonly error?: unknown;
  readonly reusable?: Reusable;
  /** Told of the answer's length when it has been written. */
  readonly after?: readonly ((length: number) => void)[];
}

export type Handler = (request: Request) => Reply | Promise<Reply>;

/** Goes on with what a handler gave, at once where that is possible. */
export function andThen<T, U>(value: T | Promise<T>, next: (value: T) => U | Promise<U>): U | Promise<U> {
  return value instanceof Promise ? value.then(next) : next(value);
}

const empty: readonly Rr[] = [];

/** An answer that is nothing but its code. */
export function failure(plugin: string, rcode: number, error?: unknown): Reply {
  return {
    rcode,
    authoritative: false,
    recursion: false,
    authentic: false,
    truncated: false,
    answers: empty,
    authority: empty,
    additional: empty,
    plugin,
    ...(error === undefined ? {} : { error }),
  };
}

/** An authoritative answer. */
export function answered(
  plugin: string,
  parts: {
    readonly rcode?: number;
    readonly answers?: readonly Rr[];
    readonly authority?: readonly Rr[];
    readonly additional?: readonly Rr[];
    readonly reusable?: Reusable | undefined;
  },
): Reply {
  return {
    rcode: parts.rcode ?? rcodes.NOERROR,
    authoritative: true,
    recursion: false,
    authentic: false,
    truncated: false,
    answers: parts.answers ?? empty,
    authority: parts.authority ?? empty,
    additional: parts.additional ?? empty,
    plugin,
    ...(parts.reusable === undefined ? {} : { reusable: parts.reusable }),
  };
}

/** What an answer is, for caching and logging (CoreDNS' response types). */
export type ReplyKind = 'success' | 'nodata' | 'nxdomain' | 'failure' | 'delegation' | 'other';

export function kindOf(reply: Reply, type: number): ReplyKind {
  if (type === types.AXFR || type === types.IXFR) return 'other';
  if (reply.answers.length > 0 && reply.rcode === rcodes.NOERROR) return 'success';
  if (reply.answers.length > 0 && reply.rcode === rcodes.NXDOMAIN) return 'other';
  const soa = reply.authority.some((r) => r.type === types.SOA);
  if (soa && reply.rcode === rcodes.NOERROR) return 'nodata';
  if (reply.rcode === rcodes.NXDOMAIN) return 'nxdomain';
  if (reply.rcode === rcodes.SERVFAIL || reply.rcode === rcodes.NOTIMP) return 'failure';
  if (reply.rcode !== rcodes.NOERROR) return 'other';
  return reply.authority.some((r) => r.type === types.NS) ? 'delegation' : 'success';
}
