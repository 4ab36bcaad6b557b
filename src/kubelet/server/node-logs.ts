/** The node's own logs (`/logs/…`): the files of /var/log, listed and served as Go's file server does. */
import type { ServerResponse } from 'node:http';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { NodeHost } from '../host/node-host.ts';
import { HttpError } from './target.ts';

const base = '/var/log';

const entities: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&#34;',
  "'": '&#39;',
};
const escapeHtml = (text: string): string => text.replace(/[&<>"']/g, (c) => entities[c]!);

/** A page of links, in the order of their names. */
function page(entries: readonly { readonly name: string; readonly directory: boolean }[]): string {
  const links = entries
    .toSorted((a, b) => (a.name < b.name ? -1 : 1))
    .map(({ name, directory }) => {
      const shown = directory ? `${name}/` : name;
      // A colon before the first slash would make a scheme of it.
      const link = encodeURIComponent(name).replaceAll('%3A', ':');
      return `<a href="${link.includes(':') ? './' : ''}${link}${directory ? '/' : ''}">${escapeHtml(shown)}</a>\n`;
    });
  return `<!doctype html>\n<meta name="viewport" content="width=device-width">\n<pre>\n${links.join('')}</pre>\n`;
}

function contentType(path: string, head: Buffer): string {
  if (path.endsWith('.gz')) return 'application/gzip';
  return head.subarray(0, 512).includes(0) ? 'application/octet-stream' : 'text/plain; charset=utf-8';
}

async function sendFile(
  path: string,
  file: { readonly size: number; readonly modifiedMs: number; readonly content: Readable },
  response: ServerResponse,
): Promise<void> {
  const chunks = file.content[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
  const first = await chunks.next();
  response.writeHead(200, {
    'content-type': contentType(path, first.done === true ? Buffer.alloc(0) : first.value),
    'content-length': file.size,
    'last-modified': new Date(file.modifiedMs).toUTCString(),
  });
  async function* all(): AsyncGenerator<Buffer> {
    if (first.done === true) return;
    yield first.value;
    for await (const chunk of { [Symbol.asyncIterator]: () => chunks }) yield chunk;
  }
  await pipeline(all, response);
}

function redirect(response: ServerResponse, location: string): void {
  response.writeHead(301, { location });
  response.end();
}

/** @param path what stands behind `/logs`, decoded; links out of the folder lead nowhere */
export async function serveNodeLogs(host: NodeHost, path: string, response: ServerResponse): Promise<void> {
  const found = await host.openBelow(base, path).catch((cause: unknown) => {
    throw new HttpError(404, '404 page not found\n', { cause });
  });
  if (found === undefined || found.type === 'other') throw new HttpError(404, '404 page not found\n');
  const slash = path.endsWith('/');
  const name = encodeURIComponent(path.split('/').findLast((part) => part !== '') ?? 'logs');
  if (found.type === 'directory') {
    if (!slash) return redirect(response, `${name}/`);
    response.writeHead(200, { 'content-type': 'text/html; charset=utf-8' });
    response.end(page(found.entries));
    return;
  }
  if (slash) {
    found.content.destroy();
    return redirect(response, `../${name}`);
  }
  await sendFile(path, found, response);
}
