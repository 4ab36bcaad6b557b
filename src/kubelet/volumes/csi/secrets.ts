/** The secrets that PersistentVolumes and inline volumes hand to their drivers. */
import type { KubeletContext } from '../../context.ts';
import { errorText } from '../../object-cache.ts';

/** A secret's values as text; none without a reference. `what` names the reference in the error. */
export async function secretOf(
  ctx: KubeletContext,
  ref: { readonly name?: string; readonly namespace?: string } | undefined,
  what: string,
): Promise<Readonly<Record<string, string>>> {
  if (ref === undefined) return {};
  const out: Record<string, string> = {};
  try {
    const secret = await ctx.client.core.secrets.get(ref.name!, ref.namespace);
    for (const k in secret.data) out[k] = Buffer.from(secret.data[k]!, 'base64').toString();
  } catch (error) {
    throw new Error(`fetching ${what} ${ref.namespace}/${ref.name} failed: ${errorText(error)}`, { cause: error });
  }
  return out;
}
