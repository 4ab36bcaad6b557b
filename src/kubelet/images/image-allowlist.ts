/** Patterns of images that pods may use without showing credentials for them (`preloadedImagesVerificationAllowlist`). */
import { parseImageName } from '../../api/helpers/image-name.ts';

/** Why a pattern cannot be one; undefined when all can. */
export function checkAllowlist(patterns: readonly string[]): string | undefined {
  for (const pattern of patterns) {
    if (pattern.trim() !== pattern) return `leading/trailing spaces are not allowed: ${pattern}`;
    const wild = pattern.endsWith('/*');
    const bare = wild ? pattern.slice(0, -1) : pattern;
    if (bare === '') return `the supplied pattern is too short: ${pattern}`;
    if (bare.includes('*'))
      return `not a valid wildcard pattern, only patterns ending with '/*' are allowed: ${pattern}`;
    if (bare === '/') return 'at least registry hostname is required';
    if (wild) continue;
    if (parseImageName(bare) === undefined) return `failed to parse as an image name: invalid reference format`;
    if (bare.includes('@') || bare.slice(bare.lastIndexOf('/') + 1).includes(':'))
      return `neither tag nor digest is accepted in an image reference: ${pattern}`;
  }
  return undefined;
}

/** An image's name without tag and digest. */
export function untagged(image: string): string {
  return image.replace(/@.*$/, '').replace(/:[^/:]*$/, '');
}

/** Whether an image is one that a pattern names: exactly, or below a path that ends with a star. */
export function allowlisted(patterns: readonly string[], image: string): boolean {
  const name = untagged(image);
  return patterns.some((p) => (p.endsWith('/*') ? name.startsWith(p.slice(0, -1)) : name === p));
}
