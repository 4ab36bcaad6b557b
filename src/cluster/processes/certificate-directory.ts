/**
 * `--cert-dir`: the serving certificate of a component that is given none is looked for there, and one signed by itself is put
 * there where none is.
 */
import { chmod, mkdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { readKeyPair, StartError, type ComponentEnvironment, type KeyPair } from './environment.ts';

export interface CertificateDirectory {
  /** `--cert-dir`; '': certificates that a component makes for itself stay in memory. */
  readonly dir: string;
  /** Somebody chose it; otherwise a directory that is of no use is told of and done without. */
  readonly chosen: boolean;
  /** What the files are called, without `.crt` and `.key`. */
  readonly name: string;
}

export interface FoundCertificate {
  readonly pair: KeyPair;
  /** Where it lies; undefined: in memory alone. */
  readonly files?: { readonly certificate: string; readonly key: string };
}

async function isThere(file: string): Promise<boolean> {
  try {
    await stat(file);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw error;
  }
}

async function fromDirectory(
  { dir, name }: CertificateDirectory,
  make: () => Promise<KeyPair>,
  env: Pick<ComponentEnvironment, 'logger'>,
): Promise<FoundCertificate> {
  const files = { certificate: join(dir, `${name}.crt`), key: join(dir, `${name}.key`) };
  const [certificate, key] = await Promise.all([isThere(files.certificate), isThere(files.key)]);
  if (certificate && key) {
    const pair = await readKeyPair('cert-dir', files.certificate, 'cert-dir', files.key);
    return { pair: pair!, files };
  }
  if (certificate || key)
    throw new StartError(
      `error reading ${certificate ? files.key : files.certificate}, certificate and key must be supplied as a pair`,
    );
  const pair = await make();
  await mkdir(dir, { recursive: true, mode: 0o755 });
  await writeFile(files.key, pair.key, { mode: 0o600 });
  await chmod(files.key, 0o600);
  await writeFile(files.certificate, pair.certificate, { mode: 0o644 });
  env.logger.info('Generated self-signed cert', { cert: files.certificate, key: files.key });
  return { pair, files };
}

/** The certificate of the directory, made with `make` where there is none. @throws {StartError} */
export async function certificateOfDirectory(
  directory: CertificateDirectory,
  make: () => Promise<KeyPair>,
  env: Pick<ComponentEnvironment, 'logger'>,
): Promise<FoundCertificate> {
  if (directory.dir === '') return { pair: await make() };
  try {
    return await fromDirectory(directory, make, env);
  } catch (error) {
    const message = (error as Error).message;
    if (!directory.chosen) {
      env.logger.warn('the directory of certificates is of no use; the one in use stays in memory', {
        dir: directory.dir,
        why: message,
      });
      return { pair: await make() };
    }
    if (error instanceof StartError) throw error;
    throw new StartError(`error creating self-signed certificates: ${message} (--cert-dir ${directory.dir})`, {
      cause: error,
    });
  }
}
