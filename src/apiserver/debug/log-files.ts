/** `--enable-logs-handler`: `/logs/` shows the files of `/var/log`, as Go's file server does. */
import { createReadStream } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { join, posix } from 'node:path';
import { textResponse } from '../filters/panic.ts';
import type { Handler } from '../filters/scope.ts';
import type { OutgoingResponse } from '../request.ts';
import type { Routes } from '../routes.ts';

const escapes: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&#34;',
  "'": '&#39;',
};
const escaped = (text: string): string => text.replace(/[&<>"']/g, (c) => escapes[c]!);

async function page(directory: string): Promise<OutgoingResponse> {
  const entries = await readdir(directory, { withFileTypes: true });
  const names = entries.map((e) => (e.isDirectory() ? `${e.name}/` : e.name)).sort();
  const links = names.map((n) => `<a href="${escaped(encodeURI(n))}">${escaped(n)}</a>\n`).join('');
  const html = `<!doctype html>\n<meta name="viewport" content="width=device-width">\n<pre>\n${links}</pre>\n`;
  return { status: 200, body: { kind: 'bytes', contentType: 'text/html; charset=utf-8', bytes: Buffer.from(html) } };
}

const refusals: Readonly<Record<string, readonly [number, string]>> = {
  ENOENT: [404, '404 page not found'],
  ENOTDIR: [404, '404 page not found'],
  ENAMETOOLONG: [404, 'file not found'],
  EACCES: [403, '403 Forbidden'],
};

function toPath(location: string): OutgoingResponse {
  return { status: 301, headers: { location }, body: { kind: 'none' } };
}

/** `root`: the folder that is shown. */
export function installLogFiles(routes: Routes, root = '/var/log'): void {
  const serve: Handler = async (scope) => {
    const { path } = scope.info;
    // What leads out of the folder leads to its top.
    const within = posix.normalize(`/${decodeURIComponent(path.slice('/logs/'.length))}`);
    const file = join(root, within);
    try {
      const found = await stat(file);
      if (found.isDirectory()) return path.endsWith('/') ? await page(file) : toPath(`${posix.basename(path)}/`);
      if (path.endsWith('/')) return toPath(`../${posix.basename(path)}`);
      if (!found.isFile()) return textResponse(403, '403 Forbidden');
      return {
        status: 200,
        body: { kind: 'stream', contentType: 'text/plain; charset=utf-8', stream: createReadStream(file) },
      };
    } catch (error) {
      const [status, text] = refusals[(error as NodeJS.ErrnoException).code ?? ''] ?? [
        500,
        '500 Internal Server Error',
      ];
      return textResponse(status, text);
    }
  };
  routes.add('/logs', () => toPath('/logs/'));
  routes.addPrefix('/logs/', serve);
}
