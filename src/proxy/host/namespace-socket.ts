/**
 * A server of this process that listens in another network namespace: a short-lived process in there opens the socket and hands it
 * over; a socket belongs to the namespace that it was opened in, whoever holds it.
 */
import { spawn } from 'node:child_process';
import type { Server } from 'node:net';

const script = `
const [address, port] = process.argv.slice(1);
const server = require('net').createServer();
server.on('error', (e) => process.send({ error: e.message }, () => process.exit(1)));
server.listen({ host: address, port: Number(port), ipv6Only: address.includes(':') }, () => process.send({}, server));
process.on('message', () => process.exit(0));
`;

/** Resolves when `server` listens. */
export function listenInNamespace(server: Server, netns: string, address: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn('nsenter', [`--net=${netns}`, '--', process.execPath, '-e', script, address, String(port)], {
      stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
    });
    child.on('error', reject);
    child.on('exit', (code) => reject(new Error(`cannot listen on ${address}:${port} in ${netns} (${code})`)));
    child.on('message', (message: { error?: string }, handle) => {
      if (message.error !== undefined) {
        reject(new Error(message.error));
        return;
      }
      server.once('error', reject);
      server.listen(handle as unknown as { fd: number }, () => {
        server.off('error', reject);
        child.send({});
        resolve();
      });
    });
  });
}
