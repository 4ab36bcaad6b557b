/**
 * Runs inside a network namespace and does there what a test asks for over IPC: serves TCP and UDP, connects, sends. A server answers
 * with its own name and who asked: `name client-address`.
 */
import { createSocket } from 'node:dgram';
import type { Socket as Datagram } from 'node:dgram';
import type { Server, Socket } from 'node:net';
import { connect, createServer } from 'node:net';

export type Command =
  | { readonly do: 'serve'; readonly protocol: 'tcp' | 'udp'; readonly port: number; readonly name: string }
  | { readonly do: 'stop'; readonly protocol: 'tcp' | 'udp'; readonly port: number }
  | {
      readonly do: 'ask';
      readonly protocol: 'tcp' | 'udp';
      readonly address: string;
      readonly port: number;
      readonly timeoutMs: number;
      readonly localPort?: number;
      readonly localAddress?: string;
    }
  /** Opens a connection that stays; `say` then sends a line over it and gets an answer. */
  | { readonly do: 'open'; readonly address: string; readonly port: number; readonly id: string }
  | { readonly do: 'say'; readonly id: string; readonly timeoutMs: number };

/** The answer, or why there was none. */
export type Answer = { readonly text: string } | { readonly failed: 'refused' | 'timeout' | string };

const servers = new Map<string, Server | Datagram>();
const connections = new Map<string, Socket>();
const plain = (address: string | undefined): string => (address ?? '').replace('::ffff:', '');

const why = (error: NodeJS.ErrnoException): string =>
  error.code === 'ECONNREFUSED' ? 'refused' : error.code === 'ETIMEDOUT' ? 'timeout' : (error.code ?? error.message);

function serve(c: Extract<Command, { do: 'serve' }>): Promise<Answer> {
  return new Promise((resolve) => {
    const failed = (error: NodeJS.ErrnoException): void => resolve({ failed: why(error) });
    if (c.protocol === 'udp') {
      const socket = createSocket({ type: 'udp6', ipv6Only: false });
      socket.on('error', failed);
      socket.on('message', (_, from) => socket.send(`${c.name} ${plain(from.address)}`, from.port, from.address));
      socket.bind(c.port, '::', () => resolve({ text: 'ok' }));
      servers.set(`udp ${c.port}`, socket);
      return;
    }
    const server = createServer((socket) => {
      socket.on('error', () => {});
      socket.write(`${c.name} ${plain(socket.remoteAddress)}\n`);
      socket.on('data', () => socket.write(`${c.name} again\n`));
      socket.on('end', () => socket.end());
    });
    server.on('error', failed);
    server.listen({ host: '::', port: c.port }, () => resolve({ text: 'ok' }));
    servers.set(`tcp ${c.port}`, server);
  });
}

function ask(c: Extract<Command, { do: 'ask' }>): Promise<Answer> {
  return new Promise((resolve) => {
    if (c.protocol === 'udp') {
      const socket = createSocket(c.address.includes(':') ? 'udp6' : 'udp4');
      const end = (answer: Answer): void => {
        clearTimeout(timer);
        socket.close();
        resolve(answer);
      };
      const timer = setTimeout(() => end({ failed: 'timeout' }), c.timeoutMs);
      socket.on('error', (error: NodeJS.ErrnoException) => end({ failed: why(error) }));
      socket.on('message', (text) => end({ text: text.toString() }));
      const send = (): void => socket.connect(c.port, c.address, () => socket.send('?'));
      if (c.localPort === undefined) send();
      else socket.bind(c.localPort, send);
      return;
    }
    const socket = connect({
      host: c.address,
      port: c.port,
      ...(c.localPort === undefined ? {} : { localPort: c.localPort }),
      ...(c.localAddress === undefined ? {} : { localAddress: c.localAddress }),
    });
    const end = (answer: Answer): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(answer);
    };
    const timer = setTimeout(() => end({ failed: 'timeout' }), c.timeoutMs);
    socket.on('error', (error: NodeJS.ErrnoException) => end({ failed: why(error) }));
    socket.on('data', (text) => end({ text: text.toString().trim() }));
    socket.on('end', () => end({ failed: 'ended' }));
  });
}

function open(c: Extract<Command, { do: 'open' }>): Promise<Answer> {
  return new Promise((resolve) => {
    const socket = connect({ host: c.address, port: c.port });
    connections.set(c.id, socket);
    const timer = setTimeout(() => resolve({ failed: 'timeout' }), 1000);
    socket.once('error', (error: NodeJS.ErrnoException) => resolve({ failed: why(error) }));
    socket.once('data', (text) => {
      clearTimeout(timer);
      resolve({ text: text.toString().trim() });
    });
  });
}

function say(c: Extract<Command, { do: 'say' }>): Promise<Answer> {
  const socket = connections.get(c.id);
  if (socket === undefined) return Promise.resolve({ failed: 'not open' });
  return new Promise((resolve) => {
    const timer = setTimeout(() => resolve({ failed: 'timeout' }), c.timeoutMs);
    socket.once('data', (text) => {
      clearTimeout(timer);
      resolve({ text: text.toString().trim() });
    });
    socket.write('more\n');
  });
}

function stop(c: Extract<Command, { do: 'stop' }>): Answer {
  servers.get(`${c.protocol} ${c.port}`)?.close();
  servers.delete(`${c.protocol} ${c.port}`);
  return { text: 'ok' };
}

async function obey(c: Command): Promise<Answer> {
  switch (c.do) {
    case 'serve':
      return serve(c);
    case 'ask':
      return ask(c);
    case 'open':
      return open(c);
    case 'say':
      return say(c);
    case 'stop':
      return stop(c);
  }
}

process.on('message', (message: { id: number; command: Command }) => {
  void obey(message.command).then((answer) => process.send!({ id: message.id, answer }));
});
process.on('disconnect', () => process.exit(0));
process.send!({ ready: true });
