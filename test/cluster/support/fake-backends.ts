/** What the API server leads to in tests of its transports: a kubelet and a pod, without a network. */
import * as http from 'node:http';
import type { Duplex } from 'node:stream';
import { duplexPair } from 'node:stream';
import { WebSocketServer } from 'ws';

/** A kubelet that answers logs and echoes what is sent to exec, and a web server in a pod. */
export function fakeBackends(seen: string[]): { node: http.Server; pod: http.Server } {
  const node = http.createServer((request, response) => {
    seen.push(`${request.method} ${request.url}`);
    if (request.url!.includes('/broken/')) response.writeHead(404).end('container not found\n');
    else response.writeHead(200, { 'content-type': 'text/plain' }).end('line one\nline two\n');
  });
  const sockets = new WebSocketServer({ noServer: true, handleProtocols: (p) => [...p][0]! });
  node.on('upgrade', (request, socket, head) => {
    seen.push(`upgrade ${request.url} ${request.headers['authorization'] ?? 'no credentials'}`);
    if (request.url!.includes('/refused/')) {
      // Refused, and the connection kept for more.
      const how = request.headers['x-how'] ?? '';
      const body =
        how === 'chunked'
          ? 'transfer-encoding: chunked\r\n\r\n3\r\nno \r\n3\r\nway\r\n0\r\n\r\n'
          : 'content-length: 6\r\n\r\nno way';
      socket.write(`HTTP/1.1 403 Forbidden\r\n${body}`);
      socket.on('data', (more: Buffer) => {
        seen.push(`more ${more.toString()}`);
        socket.write('HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsecret');
      });
      return;
    }
    sockets.handleUpgrade(request, socket, head, (ws) => {
      ws.on('message', (data: Buffer) => {
        ws.send(Buffer.concat([Buffer.from([1]), data.subarray(1)]));
        if (data.includes('bye')) ws.close();
      });
    });
  });
  const pod = http.createServer((request, response) => {
    seen.push(`pod ${request.method} ${request.url}`);
    if (request.url === '/old') response.writeHead(302, { location: '/new?x=1' }).end();
    else if (request.url!.startsWith('/page'))
      response
        .writeHead(200, { 'content-type': 'text/html; charset=utf-8' })
        .end('<a href="/there">go</a><a href="x">rel</a>');
    else {
      const chunks: Buffer[] = [];
      request.on('data', (c: Buffer) => chunks.push(c));
      request.on('end', () =>
        response.writeHead(200, { 'x-served-by': 'pod' }).end(`got ${Buffer.concat(chunks).toString()}`),
      );
    }
  });
  return { node, pod };
}

export function dialInto(server: http.Server): Duplex {
  const [near, far] = duplexPair();
  server.emit('connection', far);
  return near;
}
