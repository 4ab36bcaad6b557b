/** Reads back which clients the endpoints of Services with affinity remember, so that a new table knows them, too. */
import type { Logger } from '../../base/logger.ts';
import type { ProxyHost } from '../host/proxy-host.ts';
import type { NftTable } from '../nft/table.ts';

interface Listed {
  readonly nftables?: readonly {
    readonly set?: {
      readonly name: string;
      readonly elem?: readonly { readonly elem?: { val?: unknown; timeout?: number; expires?: number } }[];
    };
  }[];
}

const address = /^[0-9a-f:.]+$/;

/** Commands that fill `sets` with what the kernel's table of the same name has in them now; empty when there is none. */
export async function rememberedClients(
  host: ProxyHost,
  table: NftTable,
  sets: readonly string[],
  logger: Logger,
): Promise<string> {
  if (sets.length === 0) return '';
  const wanted = new Set(sets);
  let out = '';
  try {
    const tables = await host.nftList(['-t', 'list', 'tables', table.family]);
    if (!tables.split('\n').includes(`table ${table.family} ${table.name}`)) return '';
    const listed = JSON.parse(await host.nftList(['-j', 'list', 'sets', table.family])) as Listed;
    for (const { set } of listed.nftables ?? []) {
      if (set === undefined || !wanted.has(set.name)) continue;
      const elements: string[] = [];
      for (const { elem } of set.elem ?? [])
        if (typeof elem?.val === 'string' && address.test(elem.val) && (elem.expires ?? 0) > 0)
          elements.push(`${elem.val} timeout ${elem.timeout}s expires ${elem.expires}s`);
      if (elements.length > 0)
        out += `add element ${table.family} ${table.name} ${set.name} { ${elements.join(', ')} }\n`;
    }
  } catch (error) {
    logger.info('what clients of Services with affinity were sent to is not known any more', { error });
    return '';
  }
  return out;
}
