/** The part of `dns-packet` that is used here; the package has no types of its own. */
declare module 'dns-packet' {
  export interface Question {
    name: string;
    type: string;
    class?: string;
  }

  export interface SrvData {
    priority?: number;
    weight?: number;
    port: number;
    target: string;
  }

  export interface SoaData {
    mname: string;
    rname: string;
    serial: number;
    refresh: number;
    retry: number;
    expire: number;
    minimum: number;
  }

  export interface Answer {
    name: string;
    type: string;
    ttl?: number;
    class?: string;
    data?: unknown;
    /** Of an OPT pseudo-record. */
    udpPayloadSize?: number;
    extendedRcode?: number;
    ednsVersion?: number;
    flags?: number;
    options?: unknown[];
  }

  export interface Packet {
    id?: number;
    type?: 'query' | 'response';
    flags?: number;
    opcode?: string;
    rcode?: string;
    flag_rd?: boolean;
    flag_tc?: boolean;
    questions?: Question[];
    answers?: Answer[];
    authorities?: Answer[];
    additionals?: Answer[];
  }

  export const AUTHORITATIVE_ANSWER: number;
  export const TRUNCATED_RESPONSE: number;
  export const RECURSION_DESIRED: number;
  export const RECURSION_AVAILABLE: number;
  export const DNSSEC_OK: number;
  export function encode(packet: Packet): Buffer;
  export function decode(buffer: Buffer): Packet;
}
