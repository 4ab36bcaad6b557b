/** IP addresses and ranges in fields (StrictIPCIDRValidation): errors for values that parsers disagree on, and warnings. */
import { isIPv4, isIPv6 } from 'node:net';
import { invalid, type FieldError } from '../../api/field-error.ts';
import { formatAddress, parseAddress, parseRange, type Address } from '../allocators/address.ts';

/** Go's old parser: leading zeros in IPv4 are decimal. */
function sloppy(text: string): Address | undefined {
  const plain = text.replace(/(^|[.:])0+(?=\d+(?:\.|$))/g, '$1');
  return (
    parseAddress(text) ?? (isIPv4(plain) || (text.includes(':') && isIPv6(plain)) ? parseAddress(plain) : undefined)
  );
}

function isMapped(text: string): boolean {
  return text.includes(':') && parseAddress(text)?.family === 'IPv4';
}

/** A field that has always taken IPs; `old`: values that were there before and may stay. */
export function validateIp(text: string, path: string, old: readonly string[] = []): FieldError[] {
  if (old.includes(text)) return [];
  if (sloppy(text) === undefined)
    return [invalid(path, text, 'must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)')];
  const errors: FieldError[] = [];
  if (parseAddress(text) === undefined) errors.push(invalid(path, text, 'must not have leading 0s'));
  if (isMapped(text)) errors.push(invalid(path, text, 'must not be an IPv4-mapped IPv6 address'));
  return errors;
}

/** A new field: the canonical form alone. */
export function validateCanonicalIp(text: string, path: string): FieldError[] {
  const errors = validateIp(text, path);
  if (errors.length > 0) return errors;
  const canonical = formatAddress(parseAddress(text)!);
  return text === canonical ? [] : [invalid(path, text, `must be in canonical form (${JSON.stringify(canonical)})`)];
}

export function validateCidr(text: string, path: string, old: readonly string[] = []): FieldError[] {
  if (old.includes(text)) return [];
  const slash = text.indexOf('/');
  const address = slash < 0 ? undefined : sloppy(text.slice(0, slash));
  const bitsText = slash < 0 ? '' : text.slice(slash + 1);
  const width = text.includes(':') ? 128 : 32;
  if (address === undefined || !/^[0-9]+$/.test(bitsText) || Number(bitsText) > width)
    return [invalid(path, text, 'must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)')];
  if (parseAddress(text.slice(0, slash)) === undefined || (bitsText.length > 1 && bitsText.startsWith('0')))
    return [invalid(path, text, 'must not have leading 0s in IP or prefix length')];
  if (isMapped(text.slice(0, slash))) return [invalid(path, text, 'must not have an IPv4-mapped IPv6 address')];
  const range = parseRange(text)!;
  if (range.base !== address.value) return [invalid(path, text, 'must not have bits set beyond the prefix length')];
  return [];
}

export function validateCanonicalCidr(text: string, path: string): FieldError[] {
  const errors = validateCidr(text, path);
  if (errors.length > 0) return errors;
  const canonical = parseRange(text)!.text;
  return text === canonical ? [] : [invalid(path, text, `must be in canonical form (${JSON.stringify(canonical)})`)];
}

export function ipWarnings(text: string, path: string): string[] {
  const address = sloppy(text);
  if (address === undefined) return [];
  const canonical = formatAddress(address);
  if (parseAddress(text) === undefined || isMapped(text))
    return [`${path}: non-standard IP address ${JSON.stringify(text)} is invalid: use ${JSON.stringify(canonical)}`];
  if (address.family === 'IPv6' && canonical !== text)
    return [
      `${path}: IPv6 address ${JSON.stringify(text)} should be in RFC 5952 canonical format (${JSON.stringify(canonical)})`,
    ];
  return [];
}

export function cidrWarnings(text: string, path: string): string[] {
  const range = parseRange(text);
  if (range === undefined || range.text === text) return [];
  const address = parseAddress(text.slice(0, text.indexOf('/')))!;
  if (address.value !== range.base) {
    const single = `${formatAddress(address)}/${range.family === 'IPv4' ? 32 : 128}`;
    return [
      `${path}: CIDR value ${JSON.stringify(text)} is ambiguous in this context (should be ${JSON.stringify(range.text)} or ${JSON.stringify(single)}?)`,
    ];
  }
  return [
    `${path}: IPv6 CIDR value ${JSON.stringify(text)} should be in RFC 5952 canonical format (${JSON.stringify(range.text)})`,
  ];
}

/** Addresses that cannot be an endpoint's. */
export function validateEndpointIp(text: string, path: string): FieldError[] {
  const address = sloppy(text);
  if (address === undefined) return [invalid(path, text, 'must be a valid IP address')];
  const { family, value } = address;
  const errors: FieldError[] = [];
  const top = (bits: number): bigint => value >> BigInt((family === 'IPv4' ? 32 : 128) - bits);
  if (value === 0n) errors.push(invalid(path, text, `may not be unspecified (${text})`));
  if (family === 'IPv4' ? top(8) === 127n : value === 1n)
    errors.push(invalid(path, text, 'may not be in the loopback range (127.0.0.0/8, ::1/128)'));
  if (family === 'IPv4' ? top(16) === 0xa9fen : top(10) === 0x3fan)
    errors.push(invalid(path, text, 'may not be in the link-local range (169.254.0.0/16, fe80::/10)'));
  if (family === 'IPv4' ? top(24) === 0xe00000n : top(16) === 0xff02n)
    errors.push(invalid(path, text, 'may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)'));
  return errors;
}

export function isIpv6(text: string): boolean {
  return sloppy(text)?.family === 'IPv6';
}

export function isIp(text: string): boolean {
  return sloppy(text) !== undefined;
}
