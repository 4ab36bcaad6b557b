/** Sockets of a Linux machine: dialling, listening, and whether a port is held by somebody. */
import { readFile } from 'node:fs/promises';
import { connect, createServer, isIPv6 } from 'node:net';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { ioTimer } from '../../../base/io-time.ts';
import type { DialOptions, HostListener, ListenOptions } from '../node-host.ts';

export function dialTcp(address: string, port: number, options: DialOptions = {}): Promise<Duplex> {
  return new Promise((resolve, reject) => {
    options.signal?.throwIfAborted();
    const socket: Socket = connect({ host: address, port });
    let cancel = (): void => {};
    const onAbort = (): void => fail(options.signal?.reason as Error);
    const clear = (): void => {
      cancel();
      options.signal?.removeEventListener('abort', onAbort);
      socket.off('error', fail);
      socket.off('connect', done);
    };
    const fail = (error: Error): void => {
      clear();
      // Late errors of a socket that is given up belong to nobody.
      socket.on('error', () => {});
      socket.destroy();
      reject(error);
    };
    const done = (): void => {
      clear();
      resolve(socket);
    };
    if (options.timeoutMs !== undefined)
      cancel = ioTimer(options.timeoutMs, () => fail(Object.assign(new Error('i/o timeout'), { code: 'ETIMEDOUT' })));
    options.signal?.addEventListener('abort', onAbort, { once: true });
    socket.once('error', fail);
    socket.once('connect', done);
  });
}

export function listen(options: ListenOptions, onConnection: (stream: Duplex) => void): Promise<HostListener> {
  return new Promise((resolve, reject) => {
    const server = createServer(onConnection);
    server.once('error', reject);
    server.listen(options.port, options.address, () => {
      server.off('error', reject);
      const at = server.address();
      const bound = typeof at === 'object' && at !== null ? at : { address: options.address, port: options.port };
      resolve({
        address: bound.address,
        port: bound.port,
        close: () => new Promise((closed) => server.close(() => closed())),
      });
    });
  });
}

const listening = '0A';

/** `hexaddress:hexport` of the kernel's tables; words are in the machine's byte order. */
function localAddress(text: string): { address: string; port: number } {
  const [hex = '', port = '0'] = text.split(':');
  const words = hex.match(/.{8}/g) ?? [];
  const bytes = words.flatMap((w) => (w.match(/../g) ?? []).reverse().map((b) => Number.parseInt(b, 16)));
  const address =
    bytes.length === 4
      ? bytes.join('.')
      : (
          bytes
            .map((b) => b.toString(16).padStart(2, '0'))
            .join('')
            .match(/.{4}/g) ?? []
        ).join(':');
  return { address, port: Number.parseInt(port, 16) };
}

const isAny = (address: string): boolean => address === '' || /^[0:.]+$/.test(address);

/** An address as the kernel's table for IPv6 spells it out. */
function spelledOut(address: string): string {
  if (!isIPv6(address)) return address;
  const [head = '', tail] = address.split('::');
  const a = head === '' ? [] : head.split(':');
  const b = tail === undefined || tail === '' ? [] : tail.split(':');
  const zeros = tail === undefined ? [] : Array.from({ length: 8 - a.length - b.length }, () => '0');
  return [...a, ...zeros, ...b].map((w) => w.padStart(4, '0').toLowerCase()).join(':');
}

export async function portFree(protocol: 'TCP' | 'UDP' | 'SCTP', address: string, port: number): Promise<boolean> {
  if (protocol === 'SCTP') {
    const eps = await readFile('/proc/net/sctp/eps', 'utf8').catch(() => '');
    return !eps.split('\n').some((l) => Number(l.trim().split(/\s+/)[5]) === port);
  }
  const wanted = spelledOut(address);
  for (const table of protocol === 'TCP' ? ['tcp', 'tcp6'] : ['udp', 'udp6']) {
    const text = await readFile(`/proc/net/${table}`, 'utf8').catch(() => '');
    for (const line of text.split('\n').slice(1)) {
      const f = line.trim().split(/\s+/);
      if (f.length < 4 || (protocol === 'TCP' && f[3] !== listening)) continue;
      const own = localAddress(f[1]!);
      if (own.port === port && (isAny(wanted) || isAny(own.address) || own.address === wanted)) return false;
    }
  }
  return true;
}
