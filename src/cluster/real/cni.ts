/**
 * The pod network of a real node where nobody else has set one up: a CNI configuration (bridge, host-local addresses out of the
 * node's pod range, port mappings), and the kernel settings that bridged pods need. What stands in the folder is left alone.
 * https://www.cni.dev/docs/spec/
 */
import { readdir, readFile, rename, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { makeDirectory } from '../../base/directories.ts';
import { parseCidr } from '../../base/ip.ts';

const fileName = '10-knarr.conflist';
const isConfig = /\.(conf|conflist|json)$/;

export interface CniOptions {
  /** Default /etc/cni/net.d */
  readonly confDir: string;
  /** Where host-local keeps the addresses it has given out. */
  readonly dataDir: string;
  readonly podCidrs: readonly string[];
  /** Ranges whose traffic keeps its source address: the whole pod network. */
  readonly mtu?: number;
}

/** The configuration as text. */
export function cniConfig(options: Omit<CniOptions, 'confDir'>): string {
  const everywhere = options.podCidrs.map((cidr) => ({ dst: parseCidr(cidr)!.family === 6 ? '::/0' : '0.0.0.0/0' }));
  return `${JSON.stringify(
    {
      cniVersion: '0.4.0',
      name: 'knarr',
      plugins: [
        {
          type: 'bridge',
          bridge: 'cni0',
          isGateway: true,
          hairpinMode: true,
          ...(options.mtu === undefined ? {} : { mtu: options.mtu }),
          ipam: {
            type: 'host-local',
            dataDir: options.dataDir,
            ranges: options.podCidrs.map((subnet) => [{ subnet }]),
            routes: everywhere,
          },
        },
        { type: 'portmap', capabilities: { portMappings: true } },
      ],
    },
    undefined,
    2,
  )}\n`;
}

/** Writes our configuration where none stands, or where ours is out of date. Resolves with whose is used. */
export async function writeCniConfig(options: CniOptions): Promise<'ours' | 'other'> {
  const { confDir } = options;
  makeDirectory(confDir, 0o755);
  const others = (await readdir(confDir)).filter((f) => isConfig.test(f) && f !== fileName);
  if (others.length > 0) return 'other';
  const text = cniConfig(options);
  const file = join(confDir, fileName);
  if ((await readOptional(file)) === text) return 'ours';
  // Renamed inside the folder: the runtime watches it, and must never read half a file.
  const temporary = join(confDir, `.${fileName}.new`);
  await writeFile(temporary, text, { mode: 0o644 });
  await rename(temporary, file);
  return 'ours';
}

/** Takes our configuration away. */
export async function removeCniConfig(confDir: string): Promise<void> {
  await unlink(join(confDir, fileName)).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error;
  });
}

async function readOptional(file: string): Promise<string | undefined> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** Forwarding, and bridged packets passing the packet filter: without the latter a Service that leads to a pod of its own node fails. */
const settings: readonly (readonly [path: string, needed: boolean])[] = [
  ['net/ipv4/ip_forward', true],
  ['net/ipv6/conf/all/forwarding', false],
  ['net/bridge/bridge-nf-call-iptables', false],
  ['net/bridge/bridge-nf-call-ip6tables', false],
];

/** Sets what the pod network needs of the kernel; resolves with what could not be set, each with its reason. */
export async function setKernelNetwork(): Promise<string[]> {
  const failed: string[] = [];
  for (const [path, needed] of settings) {
    const file = `/proc/sys/${path}`;
    const name = path.replaceAll('/', '.');
    try {
      if ((await readFile(file, 'utf8')).trim() !== '1') await writeFile(file, '1');
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code;
      // IPv6 may be off, and a kernel may have bridges without their filter.
      if (needed || path.startsWith('net/bridge'))
        failed.push(`${name} (${code === 'ENOENT' ? 'load the module br_netfilter' : code})`);
    }
  }
  return failed;
}
