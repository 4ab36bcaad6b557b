/** Names of the cluster's zone, as the Kubernetes DNS specification has them, and the numbers that go with its records. */

/** Seconds for which positive answers may be kept (CoreDNS' kubernetes plugin). */
export const recordTtl = 30;
/** `dns-version.<domain>` TXT. */
export const schemaVersion = '1.1.0';

/** `10.1.2.3` → `10-1-2-3`; IPv6 likewise with its colons. */
export function dashed(address: string): string {
  return address.replace(/[.:]/g, '-');
}

/** `10-1-2-3` back to `10.1.2.3`; undefined when it is none. */
export function undashed(label: string): string | undefined {
  const v4 = /^(\d{1,3})-(\d{1,3})-(\d{1,3})-(\d{1,3})$/.exec(label);
  if (v4 !== null) return v4.slice(1).every((p) => Number(p) < 256) ? v4.slice(1).join('.') : undefined;
  return /^[0-9a-f-]+$/.test(label) && label.includes('-') ? label.replaceAll('-', ':') : undefined;
}

/** `3.2.1.10.in-addr.arpa` or the nibbles of `ip6.arpa` as an address; undefined when it is no reverse name. */
export function addressOfReverse(name: string): string | undefined {
  const v4 = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.in-addr\.arpa$/.exec(name);
  if (v4 !== null) return [v4[4], v4[3], v4[2], v4[1]].join('.');
  const v6 = /^((?:[0-9a-f]\.){32})ip6\.arpa$/.exec(name);
  if (v6 === null) return undefined;
  const nibbles = v6[1]!.split('.').slice(0, 32).reverse().join('');
  return nibbles.match(/.{4}/g)!.join(':');
}
