/** Simulated network programs: `wget`, `curl`, `nc`, `nslookup`, over the sandbox's simulated network and cluster DNS. */
import { request } from 'node:http';
import type { Duplex } from 'node:stream';
import { options } from './program-options.ts';
import type { Process, Program } from './process.ts';

/** Finds the address of a host name as the sandbox's resolver does. */
async function addressOf(p: Process, host: string): Promise<string> {
  if (/^[\d.]+$/.test(host) || host.includes(':')) return host;
  if (host === 'localhost') return '127.0.0.1';
  const hosts = await p.fs.readFile('/etc/hosts').catch(() => Buffer.alloc(0));
  for (const line of hosts.toString().split('\n')) {
    const [ip, ...names] = line.replace(/#.*/, '').trim().split(/\s+/);
    if (ip !== undefined && names.includes(host)) return ip;
  }
  const found = await p.at.resolve(host);
  if (found[0] === undefined) throw new Error(`bad address '${host}'`);
  return found[0];
}

interface Answer {
  status: number;
  message: string;
  headers: Record<string, string>;
  body: Buffer;
}

async function fetchUrl(
  p: Process,
  text: string,
  init: {
    method?: string;
    headers?: Record<string, string>;
    body?: string | undefined;
    timeoutMs?: number | undefined;
  },
): Promise<Answer> {
  const url = new URL(/^https?:\/\//.test(text) ? text : `http://${text}`);
  const port = Number(url.port || (url.protocol === 'https:' ? 443 : 80));
  const host = url.hostname.replace(/^\[|\]$/g, '');
  const work = (async () => {
    const stream = await p.at.dial(await addressOf(p, host), port);
    return exchange(stream, url, init);
  })();
  const timeoutMs = init.timeoutMs;
  if (timeoutMs === undefined) return p.wait(work);
  return p.wait(
    Promise.race([
      work,
      p.sleep(timeoutMs).then(() => {
        throw new Error('download timed out');
      }),
    ]),
  );
}

function exchange(
  stream: Duplex,
  url: URL,
  init: { method?: string; headers?: Record<string, string>; body?: string | undefined },
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const req = request(
      {
        createConnection: () => stream,
        method: init.method ?? 'GET',
        path: url.pathname + url.search,
        headers: { host: url.host, connection: 'close', ...init.headers },
      },
      (res) => {
        const chunks: Buffer[] = [];
        res.on('data', (c: Buffer) => chunks.push(c));
        res.on('error', reject);
        res.on('end', () => {
          stream.destroy();
          const headers: Record<string, string> = {};
          for (const [k, v] of Object.entries(res.headers)) headers[k] = String(v);
          resolve({
            status: res.statusCode ?? 0,
            message: res.statusMessage ?? '',
            headers,
            body: Buffer.concat(chunks),
          });
        });
      },
    );
    req.on('error', reject);
    req.end(init.body);
  });
}

const wget: Program = async (p) => {
  const { flags, operands } = options(p, 'OT');
  const url = operands[0];
  if (url === undefined) return 1;
  const quiet = flags.has('q');
  const host = url.replace(/^https?:\/\//, '').split('/')[0]!;
  try {
    if (!quiet) await p.err(`Connecting to ${host}\n`);
    const seconds = flags.get('T') ?? flags.get('timeout');
    const a = await fetchUrl(p, url, {
      headers: { 'user-agent': 'Wget' },
      timeoutMs: seconds === undefined ? undefined : Number(seconds) * 1000,
    });
    if (a.status >= 400) {
      await p.complain(`server returned error: HTTP/1.1 ${a.status} ${a.message}`);
      return 1;
    }
    const file =
      flags.get('O') ??
      (new URL(url.includes('://') ? url : `http://${url}`).pathname.split('/').at(-1) || 'index.html');
    if (flags.has('spider')) return 0;
    if (file === '-') await p.out(a.body);
    else await p.fs.writeFile(p.path(file), a.body);
    return 0;
  } catch (error) {
    if (p.signal.aborted) throw error;
    const message = (error as Error).message;
    await p.complain(
      message.startsWith('bad address') || message.includes('timed out')
        ? message
        : `can't connect to remote host (${host}): ${reason(error)}`,
    );
    return 1;
  }
};

function reason(error: unknown): string {
  const code = (error as { code?: string }).code;
  return code === 'ECONNREFUSED'
    ? 'Connection refused'
    : code === 'EHOSTUNREACH'
      ? 'No route to host'
      : (error as Error).message;
}

const curl: Program = async (p) => {
  const { flags, operands } = options(p, 'oXHdmw');
  const url = operands[0];
  if (url === undefined) return 2;
  const headers: Record<string, string> = { 'user-agent': 'curl/8', accept: '*/*' };
  for (const [i, a] of p.args.entries()) {
    if (a !== '-H') continue;
    const [k, v] = (p.args[i + 1] ?? '').split(/:\s*(.*)/s) as [string, string?];
    headers[k.toLowerCase()] = v ?? '';
  }
  try {
    const max = flags.get('m') ?? flags.get('max-time');
    const body = flags.get('d');
    const a = await fetchUrl(p, url, {
      method: flags.get('X') ?? (body === undefined ? 'GET' : 'POST'),
      headers,
      body,
      timeoutMs: max === undefined ? undefined : Number(max) * 1000,
    });
    if ((flags.has('f') || flags.has('fail')) && a.status >= 400) {
      await p.err(`curl: (22) The requested URL returned error: ${a.status}\n`);
      return 22;
    }
    const text =
      flags.has('i') || flags.has('I')
        ? `HTTP/1.1 ${a.status} ${a.message}\r\n${Object.entries(a.headers)
            .map(([k, v]) => `${k}: ${v}\r\n`)
            .join('')}\r\n`
        : '';
    const file = flags.get('o');
    const out = flags.has('I') ? Buffer.from(text) : Buffer.concat([Buffer.from(text), a.body]);
    if (file === undefined) await p.out(out);
    else if (file !== '/dev/null') await p.fs.writeFile(p.path(file), out);
    const format = flags.get('w');
    if (format !== undefined)
      await p.out(format.replace(/%\{(?:http_code|response_code)\}/g, String(a.status)).replace(/\\n/g, '\n'));
    return 0;
  } catch (error) {
    if (p.signal.aborted) throw error;
    const message = (error as Error).message;
    const [code, said] = message.startsWith('bad address')
      ? [6, `Could not resolve host: ${new URL(url.includes('://') ? url : `http://${url}`).hostname}`]
      : message.includes('timed out')
        ? [28, 'Operation timed out']
        : [7, `Failed to connect: ${reason(error)}`];
    if (!flags.has('s') || flags.has('S')) await p.err(`curl: (${code}) ${said}\n`);
    return code as number;
  }
};

async function relay(p: Process, stream: Duplex): Promise<void> {
  const closed = new Promise<void>((resolve) => {
    stream.once('end', resolve);
    stream.once('close', resolve);
    stream.once('error', () => resolve());
  });
  stream.on('data', (d: Buffer) => {
    stream.pause();
    p.out(d).then(
      () => stream.resume(),
      () => stream.destroy(),
    );
  });
  const feed = (async () => {
    for (;;) {
      const chunk = await p.read();
      if (chunk === undefined) break;
      stream.write(chunk);
    }
    stream.end();
  })();
  feed.catch(() => stream.destroy());
  await p.wait(closed);
  stream.destroy();
}

const nc: Program = async (p) => {
  const { flags, operands } = options(p, 'pwqesN');
  if (flags.has('l')) {
    const port = Number(flags.get('p') ?? operands.at(-1));
    const keep = flags.has('k');
    for (;;) {
      const { promise, resolve } = Promise.withResolvers<Duplex>();
      const close = p.at.listen(port, resolve);
      try {
        const stream = await p.wait(promise);
        close();
        await relay(p, stream);
      } finally {
        close();
      }
      if (!keep) return 0;
    }
  }
  const [host, port] = operands;
  try {
    const dial = p.at.dial(await addressOf(p, host ?? ''), Number(port));
    const w = flags.get('w');
    const stream = await p.wait(
      w === undefined
        ? dial
        : Promise.race([
            dial,
            p.sleep(Number(w) * 1000).then(() => {
              throw new Error('timed out');
            }),
          ]),
    );
    if (flags.has('z')) stream.destroy();
    else await relay(p, stream);
    return 0;
  } catch (error) {
    if (p.signal.aborted) throw error;
    if (!flags.has('z') || flags.has('v')) await p.complain(`${host} (${host}:${port}): ${reason(error)}`);
    return 1;
  }
};

const nslookup: Program = async (p) => {
  const name = options(p).operands[0] ?? '';
  const found = await p.at.resolve(name).catch(() => []);
  const resolv = (await p.fs.readFile('/etc/resolv.conf').catch(() => Buffer.alloc(0))).toString();
  const server = /^nameserver\s+(\S+)/m.exec(resolv)?.[1] ?? '127.0.0.1';
  await p.out(`Server:\t\t${server}\nAddress:\t${server}:53\n\n`);
  if (found.length === 0) {
    await p.out(`** server can't find ${name}: NXDOMAIN\n\n`);
    return 1;
  }
  for (const a of found) await p.out(`Name:\t${name}\nAddress: ${a}\n`);
  await p.out('\n');
  return 0;
};

export const networkPrograms: readonly (readonly [string, Program])[] = [
  ['wget', wget],
  ['curl', curl],
  ['nc', nc],
  ['nslookup', nslookup],
];
