/** DNS messages on the wire: decoding queries, encoding answers within the size that the client takes, EDNS. */
import type { Answer, Packet, Question } from 'dns-packet';
import type { DnsAnswer, DnsRecord, ResponseCode } from './answer.ts';
import { failure } from './answer.ts';

/** What we tell clients that we take, and the most that is sent over UDP: fits into any path without fragments. */
const udpPayload = 1232;
const minPayload = 512;
const codes: Readonly<Record<ResponseCode, number>> = {
  NOERROR: 0,
  FORMERR: 1,
  SERVFAIL: 2,
  NXDOMAIN: 3,
  NOTIMP: 4,
  REFUSED: 5,
};

export type DnsPacketModule = typeof import('dns-packet');

export interface Query {
  readonly packet: Packet;
  readonly question: Question;
}

/** A decoded query, or the code with which it is turned down; undefined: not worth an answer. */
export function decodeQuery(codec: DnsPacketModule, message: Buffer): Query | ResponseCode | undefined {
  if (message.length < 12 || (message[2]! & 0x80) !== 0) return undefined;
  let packet: Packet;
  try {
    packet = codec.decode(message);
  } catch {
    return 'FORMERR';
  }
  if (packet.opcode !== 'QUERY') return 'NOTIMP';
  const question = packet.questions?.[0];
  if (packet.questions?.length !== 1 || question === undefined) return 'FORMERR';
  if (question.class !== 'IN' && question.class !== 'ANY') return 'REFUSED';
  return { packet, question };
}

/** An answer that has nothing but its code, made from the query's bytes alone. */
export function bareAnswer(message: Buffer, rcode: ResponseCode): Buffer {
  const out = Buffer.alloc(12);
  message.copy(out, 0, 0, 4);
  out[2] = (out[2]! & 0x79) | 0x80;
  out[3] = codes[rcode];
  return out;
}

function toWire(record: DnsRecord): Answer {
  return { name: record.name, type: record.type, ttl: record.ttl, class: 'IN', data: record.data };
}

/** The answer as bytes; over UDP cut and marked when it is longer than the client takes. */
export function encodeAnswer(
  codec: DnsPacketModule,
  query: Query,
  answer: DnsAnswer,
  transport: 'udp' | 'tcp',
  recursion: boolean,
): Buffer {
  const edns = query.packet.additionals?.find((a) => a.type === 'OPT');
  let rcode = codes[answer.rcode];
  let extendedRcode = 0;
  let content = answer;
  if (edns !== undefined && (edns.ednsVersion ?? 0) > 0) {
    // BADVERS.
    rcode = 0;
    extendedRcode = 1;
    content = failure('NOERROR');
  }
  const opt: Answer[] =
    edns === undefined
      ? []
      : [{ type: 'OPT', name: '.', udpPayloadSize: udpPayload, extendedRcode, ednsVersion: 0, flags: 0, options: [] }];
  const flags =
    (content.authoritative ? codec.AUTHORITATIVE_ANSWER : 0) |
    (query.packet.flag_rd === true ? codec.RECURSION_DESIRED : 0) |
    (recursion ? codec.RECURSION_AVAILABLE : 0) |
    rcode;
  const packet: Packet = {
    type: 'response',
    id: query.packet.id ?? 0,
    flags,
    questions: [query.question],
    answers: content.answers.map(toWire),
    authorities: content.authority.map(toWire),
    additionals: [...content.additional.map(toWire), ...opt],
  };
  const encoded = codec.encode(packet);
  if (transport === 'tcp') return encoded;
  const limit = edns === undefined ? minPayload : Math.min(Math.max(edns.udpPayloadSize ?? 0, minPayload), udpPayload);
  if (encoded.length <= limit) return encoded;
  // Additional records may be left out in silence; answers not.
  const shorter = codec.encode({ ...packet, additionals: opt });
  if (shorter.length <= limit) return shorter;
  return codec.encode({
    ...packet,
    flags: flags | codec.TRUNCATED_RESPONSE,
    answers: [],
    authorities: [],
    additionals: opt,
  });
}
