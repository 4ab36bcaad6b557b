/** Questions and answers of DNS as plain values, apart from their form on the wire. */

export type RecordType = 'A' | 'AAAA' | 'CNAME' | 'NS' | 'PTR' | 'SOA' | 'SRV' | 'TXT';

export interface SrvTarget {
  readonly priority: number;
  readonly weight: number;
  readonly port: number;
  readonly target: string;
}

export interface Soa {
  readonly mname: string;
  readonly rname: string;
  readonly serial: number;
  readonly refresh: number;
  readonly retry: number;
  readonly expire: number;
  readonly minimum: number;
}

export interface DnsRecord {
  /** Without the dot at its end. */
  readonly name: string;
  readonly type: RecordType;
  readonly ttl: number;
  /** An address, a name, or text; for SRV and SOA their members. */
  readonly data: string | SrvTarget | Soa;
}

export type ResponseCode = 'NOERROR' | 'NXDOMAIN' | 'SERVFAIL' | 'REFUSED' | 'NOTIMP' | 'FORMERR';

export interface DnsAnswer {
  readonly rcode: ResponseCode;
  readonly authoritative: boolean;
  readonly answers: readonly DnsRecord[];
  /** The zone's SOA where there is no answer. */
  readonly authority: readonly DnsRecord[];
  /** Addresses of the targets in `answers`. */
  readonly additional: readonly DnsRecord[];
}

export function failure(rcode: ResponseCode): DnsAnswer {
  return { rcode, authoritative: false, answers: [], authority: [], additional: [] };
}
