/** Errors of the file system: what a code means for the caller, and the wording that Go's programs use for it. */

export function errorCode(error: unknown): string | undefined {
  return (error as { code?: string } | undefined)?.code;
}

/** True when there is no such file. */
export function isMissing(error: unknown): boolean {
  const code = errorCode(error);
  return code === 'ENOENT' || code === 'ENOTDIR';
}

/** The kernel's words for an error number, as Go prints them. */
const words: Readonly<Record<string, string>> = {
  ENOENT: 'no such file or directory',
  ENOTDIR: 'not a directory',
  EISDIR: 'is a directory',
  EEXIST: 'file exists',
  EACCES: 'permission denied',
  EPERM: 'operation not permitted',
  EROFS: 'read-only file system',
  ENOSPC: 'no space left on device',
  EBUSY: 'device or resource busy',
  ELOOP: 'too many levels of symbolic links',
  ENAMETOOLONG: 'file name too long',
  EINVAL: 'invalid argument',
  ESTALE: 'stale NFS file handle',
  EIO: 'input/output error',
};

/** `mkdir /a/b: not a directory`. */
export function goError(operation: string, path: string, error: unknown): Error {
  const code = errorCode(error);
  const text = code === undefined ? undefined : words[code];
  if (text === undefined) return error instanceof Error ? error : new Error(String(error));
  return Object.assign(new Error(`${operation} ${path}: ${text}`, { cause: error }), { code });
}
