/** Addresses with a port, as Go's `net.JoinHostPort` writes them. */

/** `host:port`, IPv6 addresses in brackets. */
export function joinHostPort(host: string, port: number): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}
