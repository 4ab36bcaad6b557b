/** Reading and writing the files of a cgroup, and what the two versions of the kernel's interface must both be able to do. */
import * as fs from 'node:fs/promises';
import { join } from 'node:path';
import type { CgroupDetails, CgroupLimits, CgroupResources, CgroupStats } from '../node-host.ts';
import { errorCode, goError, isMissing } from './fs-error.ts';
import type { CpuRate } from './usage.ts';

/** What the versions of the kernel's interface do differently, on directories relative to the hierarchies' roots. */
export interface CgroupFiles {
  readonly version: 1 | 2;
  /** Every directory that a path has, one a hierarchy. */
  directories(path: string): readonly string[];
  /** Makes the directories of a path with all above it. */
  create(path: string): Promise<void>;
  /** Sets the limits that are named. */
  set(path: string, resources: CgroupResources): Promise<void>;
  stats(path: string, now: number, rate: CpuRate, monotonic: number): Promise<CgroupStats | undefined>;
  limits(path: string): Promise<CgroupLimits | undefined>;
  details(path: string): Promise<CgroupDetails | undefined>;
}

/** A number of a cgroup's file; undefined for `max` and where there is no such file. */
export async function readNumber(path: string): Promise<number | undefined> {
  const text = await readText(path);
  if (text === undefined) return undefined;
  const n = Number(text.trim());
  return Number.isFinite(n) ? n : undefined;
}

export async function readText(path: string): Promise<string | undefined> {
  try {
    return await fs.readFile(path, 'utf8');
  } catch (error) {
    if (isMissing(error) || errorCode(error) === 'ENODEV') return undefined;
    throw goError('open', path, error);
  }
}

/** Writes one setting; the message of a failure names the file and the value, as upstream's does. */
export async function writeSetting(directory: string, file: string, value: number | string): Promise<void> {
  const path = join(directory, file);
  try {
    const handle = await fs.open(path, 'r+');
    try {
      await handle.write(String(value));
    } finally {
      await handle.close();
    }
  } catch (error) {
    throw Object.assign(
      new Error(`failed to write "${value}": ${goError('write', path, error).message}`, { cause: error }),
      { code: errorCode(error) },
    );
  }
}

/** `name value` lines. */
export function parseStat(text: string): Map<string, number> {
  const out = new Map<string, number>();
  for (const line of text.split('\n')) {
    const at = line.indexOf(' ');
    if (at > 0) out.set(line.slice(0, at), Number(line.slice(at + 1)));
  }
  return out;
}
