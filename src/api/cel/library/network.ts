/** Kubernetes' IP addresses and CIDRs in expressions. */
import { goQuote } from '../../codec/json.ts';
import type { Library } from '../declarations.ts';
import { global, member } from '../declarations.ts';
import { fail, noSuchOverload } from '../errors.ts';
import { boolType, intType, opaqueType, stringType } from '../types.ts';
import { LibraryValue } from '../values.ts';
import type { Address, Prefix } from './netip.ts';
import {
  AddressError,
  formatAddress,
  is4in6,
  masked,
  parseAddress,
  parsePrefix,
  prefixContains,
  prefixCovers,
  sameAddress,
} from './netip.ts';

const ipType = opaqueType('net.IP');
const cidrType = opaqueType('net.CIDR');

class IPValue extends LibraryValue {
  readonly address: Address;

  constructor(address: Address) {
    super();
    this.address = address;
  }

  get celType(): typeof ipType {
    return ipType;
  }

  override get size(): number {
    return this.address.bytes.length;
  }

  equals(other: LibraryValue): boolean {
    return sameAddress(this.address, (other as IPValue).address);
  }

  override toJSON(): string {
    return formatAddress(this.address);
  }
}

class CIDRValue extends LibraryValue {
  readonly prefix: Prefix;

  constructor(prefix: Prefix) {
    super();
    this.prefix = prefix;
  }

  get celType(): typeof cidrType {
    return cidrType;
  }

  override get size(): number {
    return Math.ceil(this.prefix.bits / 8);
  }

  equals(other: LibraryValue): boolean {
    const { prefix } = other as CIDRValue;
    return this.prefix.bits === prefix.bits && sameAddress(this.prefix.address, prefix.address);
  }

  override toJSON(): string {
    return `${formatAddress(this.prefix.address)}/${this.prefix.bits}`;
  }
}

/** An address, or upstream's error text. */
function readIP(text: string): Address | string {
  const quoted = goQuote(text);
  try {
    const address = parseAddress(text);
    if (address.zone !== '') return `IP address ${quoted} with zone value is not allowed`;
    if (is4in6(address)) return `IPv4-mapped IPv6 address ${quoted} is not allowed`;
    return address;
  } catch (error) {
    if (!(error instanceof AddressError)) throw error;
    return `IP Address ${quoted} parse error during conversion from string: ${error.message}`;
  }
}

const prefixError = 'network address parse error during conversion from string: ';

function readCIDR(text: string): Prefix | string {
  try {
    const prefix = parsePrefix(text);
    if (is4in6(prefix.address)) return `${prefixError}IPv4-mapped IPv6 address ${goQuote(text)} is not allowed`;
    return prefix;
  } catch (error) {
    if (!(error instanceof AddressError)) throw error;
    return `${prefixError}${prefixError}${error.message}`;
  }
}

function ip(text: unknown): Address {
  const read = readIP(text as string);
  return typeof read === 'string' ? fail(read) : read;
}

function cidr(text: unknown): Prefix {
  const read = readCIDR(text as string);
  return typeof read === 'string' ? fail(read) : read;
}

const addressOf = (v: unknown): Address => (v as IPValue).address;
const prefixOf = (v: unknown): Prefix => (v as CIDRValue).prefix;

const is6 = (b: Uint8Array): boolean => b.length === 16;
const unspecified = (b: Uint8Array): boolean => b.every((x) => x === 0);
const loopback = (b: Uint8Array): boolean =>
  is6(b) ? b[15] === 1 && b.subarray(0, 15).every((x) => x === 0) : b[0] === 127;
const linkLocalUnicast = (b: Uint8Array): boolean =>
  is6(b) ? b[0] === 0xfe && (b[1]! & 0xc0) === 0x80 : b[0] === 169 && b[1] === 254;
const linkLocalMulticast = (b: Uint8Array): boolean =>
  is6(b) ? b[0] === 0xff && (b[1]! & 0x0f) === 2 : b[0] === 224 && b[1] === 0 && b[2] === 0;
const multicast = (b: Uint8Array): boolean => (is6(b) ? b[0] === 0xff : (b[0]! & 0xf0) === 0xe0);
const broadcast = (b: Uint8Array): boolean => !is6(b) && b.every((x) => x === 255);
const globalUnicast = (b: Uint8Array): boolean =>
  !unspecified(b) && !broadcast(b) && !loopback(b) && !multicast(b) && !linkLocalUnicast(b);

const ask = (id: string, test: (b: Uint8Array) => boolean): ReturnType<typeof member>[] => [
  member(id, [ipType], boolType, ([v]) => test(addressOf(v).bytes)),
];

export const ipLibrary: Library = {
  name: 'kubernetes.net.ip',
  types: [ipType],
  functions: {
    ip: [global('string_to_ip', [stringType], ipType, ([s]) => new IPValue(ip(s)))],
    family: [member('ip_family', [ipType], intType, ([v]) => (is6(addressOf(v).bytes) ? 6 : 4))],
    'ip.isCanonical': [global('ip_is_canonical', [stringType], boolType, ([s]) => formatAddress(ip(s)) === s)],
    isUnspecified: ask('ip_is_unspecified', unspecified),
    isLoopback: ask('ip_is_loopback', loopback),
    isLinkLocalMulticast: ask('ip_is_link_local_multicast', linkLocalMulticast),
    isLinkLocalUnicast: ask('ip_is_link_local_unicast', linkLocalUnicast),
    isGlobalUnicast: ask('ip_is_global_unicast', globalUnicast),
    isIP: [global('is_ip', [stringType], boolType, ([s]) => typeof readIP(s as string) !== 'string')],
    string: [global('ip_to_string', [ipType], stringType, ([v]) => (v as IPValue).toJSON())],
  },
};

export const cidrLibrary: Library = {
  name: 'kubernetes.net.cidr',
  types: [cidrType, ipType],
  functions: {
    cidr: [global('string_to_cidr', [stringType], cidrType, ([s]) => new CIDRValue(cidr(s)))],
    containsIP: [
      member('cidr_contains_ip_string', [cidrType, stringType], boolType, ([c, s]) => {
        // Upstream has nothing else to say of a text that is none.
        const read = readIP(s as string);
        return typeof read === 'string' ? noSuchOverload() : prefixContains(prefixOf(c), read);
      }),
      member('cidr_contains_ip_ip', [cidrType, ipType], boolType, ([c, v]) =>
        prefixContains(prefixOf(c), addressOf(v)),
      ),
    ],
    containsCIDR: [
      member('cidr_contains_cidr_string', [cidrType, stringType], boolType, ([c, s]) => {
        const read = readCIDR(s as string);
        return typeof read === 'string' ? fail(read) : prefixCovers(prefixOf(c), read);
      }),
      member('cidr_contains_cidr', [cidrType, cidrType], boolType, ([c, d]) => prefixCovers(prefixOf(c), prefixOf(d))),
    ],
    ip: [member('cidr_ip', [cidrType], ipType, ([c]) => new IPValue(prefixOf(c).address))],
    prefixLength: [member('cidr_prefix_length', [cidrType], intType, ([c]) => prefixOf(c).bits)],
    masked: [member('cidr_masked', [cidrType], cidrType, ([c]) => new CIDRValue(masked(prefixOf(c))))],
    isCIDR: [global('is_cidr', [stringType], boolType, ([s]) => typeof readCIDR(s as string) !== 'string')],
    string: [global('cidr_to_string', [cidrType], stringType, ([v]) => (v as CIDRValue).toJSON())],
  },
};
