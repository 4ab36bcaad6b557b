/**
 * What every component that runs as a process of its own is given and needs: clock, log, the signal that ends it, and how
 * files and addresses named by flags become values or one clear line.
 */
import { joinHostPort } from '../../base/host-port.ts';
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:net';
import { networkInterfaces } from 'node:os';
import { createSecureContext } from 'node:tls';
import { RestClientMetrics } from '../../apiserver/metrics/rest-client-metrics.ts';
import type { Clock } from '../../base/clock.ts';
import type { Logger } from '../../base/logger.ts';
import type { Random } from '../../base/random.ts';

export interface ComponentEnvironment {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /** Aborts when the component is to stop. */
  readonly signal: AbortSignal;
  /** `--version=vX.Y.Z…`: what is told as the version; undefined: what it is. */
  readonly version?: string;
  /** Where the requests to the API server are measured. */
  readonly requests?: RestClientMetrics;
  /** A line for the person (or program) who started it. */
  say(line: string): void;
}

/** The same with its requests measured. */
export function measured(env: ComponentEnvironment): ComponentEnvironment & { readonly requests: RestClientMetrics } {
  return { ...env, requests: env.requests ?? new RestClientMetrics() };
}

/** What can be mended by whoever started the component; the message is one line that says how. */
export class StartError extends Error {
  override readonly name = 'StartError';
}

/** PEM of a certificate (chain) and its key. */
export interface KeyPair {
  readonly certificate: string;
  readonly key: string;
}

function reasonOf(error: unknown): string {
  const code = (error as NodeJS.ErrnoException).code;
  if (code === 'ENOENT') return 'there is no such file';
  if (code === 'EACCES') return 'permission denied';
  if (code === 'EISDIR') return 'it is a directory';
  return error instanceof Error ? error.message : String(error);
}

/** The text of the file that `flag` names. */
export async function readNamed(flag: string, file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    throw new StartError(`cannot read ${file} (--${flag}): ${reasonOf(error)}`, { cause: error });
  }
}

/** As `readNamed`; undefined for a flag that was not given. */
export async function readOptional(flag: string, file: string | undefined): Promise<string | undefined> {
  return file === undefined || file === '' ? undefined : readNamed(flag, file);
}

/** A bundle of certificates; what is none is refused. */
export async function readCertificates(flag: string, file: string | undefined): Promise<string | undefined> {
  const text = await readOptional(flag, file);
  if (text === undefined) return undefined;
  const blocks = text.match(/-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g) ?? [];
  try {
    for (const block of blocks) void new X509Certificate(block);
  } catch (error) {
    throw new StartError(`${file} (--${flag}) holds a certificate that cannot be read`, { cause: error });
  }
  if (blocks.length === 0) throw new StartError(`${file} (--${flag}) holds no PEM certificate`);
  return text;
}

/** A certificate and the key that belongs to it; both flags or neither. */
export async function readKeyPair(
  certificateFlag: string,
  certificateFile: string | undefined,
  keyFlag: string,
  keyFile: string | undefined,
): Promise<KeyPair | undefined> {
  const [certificate, key] = await Promise.all([
    readCertificates(certificateFlag, certificateFile),
    readOptional(keyFlag, keyFile),
  ]);
  if (certificate === undefined && key === undefined) return undefined;
  if (certificate === undefined || key === undefined)
    throw new StartError(`--${certificateFlag} and --${keyFlag} are given together or not at all`);
  try {
    createSecureContext({ cert: certificate, key });
  } catch (error) {
    throw new StartError(
      `${keyFile} (--${keyFlag}) is not the key of ${certificateFile} (--${certificateFlag}): ${reasonOf(error)}`,
      { cause: error },
    );
  }
  return { certificate, key };
}

/** A private key in PEM. */
export async function readPrivateKey(flag: string, file: string | undefined): Promise<string | undefined> {
  const text = await readOptional(flag, file);
  if (text === undefined) return undefined;
  try {
    createPrivateKey(text);
  } catch (error) {
    throw new StartError(`${file} (--${flag}) holds no private key in PEM`, { cause: error });
  }
  return text;
}

/** Why an address cannot be listened on, and which flag to change. */
export function listenError(error: unknown, host: string, port: number, flag: string): Error {
  const code = (error as NodeJS.ErrnoException).code;
  const at = joinHostPort(host, port);
  const why =
    code === 'EADDRINUSE'
      ? `${at} is in use`
      : code === 'EACCES'
        ? `${at} needs more rights than this process has`
        : code === 'EADDRNOTAVAIL' || code === 'ENOTFOUND' || code === 'EINVAL'
          ? `${host} is no address of this machine`
          : undefined;
  if (why === undefined) return error instanceof Error ? error : new Error(String(error));
  return new StartError(`${why}: choose another with ${flag}`, { cause: error });
}

/** The address that others reach this machine at: the first of an outer interface, else loopback. */
export function defaultAddress(): string {
  return ownAddress(4) ?? ownAddress(6) ?? '127.0.0.1';
}

/** An address of this machine that others can reach. */
export function ownAddress(family: 4 | 6): string | undefined {
  for (const list of Object.values(networkInterfaces()))
    for (const a of list ?? [])
      if (!a.internal && a.family === `IPv${family}` && !/^(169\.254\.|fe[89ab])/.test(a.address)) return a.address;
  return undefined;
}

/** True for addresses that mean "all of this machine's". */
export function isWildcard(host: string): boolean {
  return host === '0.0.0.0' || host === '::' || host === '';
}

/** Resolves when the signal aborts. */
export function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
}

/** Rejects with one line when the address cannot be had; before anything is opened that would have to be closed again. */
export function probeAddress(host: string, port: number, flag: string, shared = false): Promise<void> {
  if (port === 0) return Promise.resolve();
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once('error', (error) => reject(listenError(error, host, port, flag)));
    probe.listen({ host, port, exclusive: true, reusePort: shared }, () => probe.close(() => resolve()));
  });
}

/** A port that nobody uses now. */
export function freePort(host: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once('error', reject);
    probe.listen({ host, port: 0, exclusive: true }, () => {
      const { port } = probe.address() as AddressInfo;
      probe.close(() => resolve(port));
    });
  });
}

/** `host:port`, `:port` or `host` of a flag; undefined when it is empty or the port is 0 (not served). */
export function splitHostPort(
  flag: string,
  text: string,
  defaultPort: number,
): { readonly host: string; readonly port: number } | undefined {
  if (text === '') return undefined;
  const m = /^(?:\[([^\]]*)\]|([^:]*))(?::(\d+))?$/.exec(text);
  const bare = m === null && /^[0-9a-fA-F:.]+$/.test(text) ? text : undefined;
  if (m === null && bare === undefined)
    throw new StartError(`--${flag} ${text}: it is an address such as 127.0.0.1:1234`);
  const host = bare ?? m?.[1] ?? m?.[2] ?? '';
  const port = m?.[3] === undefined ? defaultPort : Number(m[3]);
  if (port > 65_535) throw new StartError(`--${flag} ${text}: a port is between 0 and 65535`);
  return port === 0 ? undefined : { host: host === '' ? '0.0.0.0' : host, port };
}
