/**
 * Pods' way out of the cluster: what leaves the pod network takes the machine's address, by one nftables table of its own. Inside
 * the cluster pods keep theirs, which network policies and other nodes rely on.
 */
import { spawn } from 'node:child_process';
import { parseCidr } from '../../base/ip.ts';

const tableName = 'knarr-pods';

function nft(text: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn('nft', ['-f', '-'], { stdio: ['pipe', 'ignore', 'pipe'] });
    let errors = '';
    child.stderr.setEncoding('utf8').on('data', (d: string) => {
      if (errors.length < 4096) errors += d;
    });
    child.once('error', (cause) => reject(new Error('nft cannot be run: install the package nftables', { cause })));
    child.once('close', (code) =>
      code === 0 ? resolve() : reject(new Error(`nft ended with ${code}: ${errors.trim()}`)),
    );
    child.stdin.on('error', () => {});
    child.stdin.end(text);
  });
}

/** @param podCidrs of this node @param clusterCidrs ranges of all pods, comma-separated ones apart */
export async function masqueradePods(podCidrs: readonly string[], clusterCidrs: readonly string[]): Promise<void> {
  let text = '';
  for (const [family, name] of [
    [4, 'ip'],
    [6, 'ip6'],
  ] as const) {
    const own = podCidrs.filter((c) => parseCidr(c)?.family === family);
    const all = clusterCidrs.filter((c) => parseCidr(c)?.family === family);
    if (own.length === 0) continue;
    const inside = [...all, family === 4 ? '224.0.0.0/4' : 'ff00::/8'].join(', ');
    text += `add table ${name} ${tableName}
delete table ${name} ${tableName}
table ${name} ${tableName} {
  chain postrouting {
    type nat hook postrouting priority srcnat + 5; policy accept;
    ${name} saddr { ${own.join(', ')} } ${name} daddr != { ${inside} } masquerade
  }
}
`;
  }
  if (text !== '') await nft(text);
}

/** Takes the tables away. */
export function removeMasquerade(): Promise<void> {
  return nft(['ip', 'ip6'].map((f) => `add table ${f} ${tableName}\ndelete table ${f} ${tableName}\n`).join(''));
}
