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
  /** The largest packet that pods send; the runtime's default when left out. */
  readonly mtu?: number;
}

/** Where host-local keeps the addresses that it has given out to the pods of a node. */
export function cniDataDir(rootDir: string): string {
  return join(rootDir, 'cni-addresses');
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
const settings: readonly (readonly [path: string, family: 4 | 6, needed: boolean])[] = [
  ['net/ipv4/ip_forward', 4, true],
  ['net/ipv6/conf/all/forwarding', 6, true],
  ['net/bridge/bridge-nf-call-iptables', 4, true],
  ['net/bridge/bridge-nf-call-ip6tables', 6, false],
];

async function set(path: string, value: string): Promise<void> {
  const file = `/proc/sys/${path}`;
  if ((await readFile(file, 'utf8')).trim() !== value) await writeFile(file, value);
}

/** A router takes no default route from router advertisements, unless it is told to go on doing so. */
async function keepAdvertisedRoutes(): Promise<void> {
  const root = '/proc/sys/net/ipv6/conf';
  for (const name of await readdir(root)) {
    const file = join(root, name, 'accept_ra');
    if ((await readOptional(file))?.trim() === '1') await writeFile(file, '2');
  }
}

/**
 * Sets what the pod network needs of the kernel; resolves with what could not be set, each with its reason.
 * @param ipv6 pods have IPv6 addresses
 */
export async function setKernelNetwork(ipv6: boolean): Promise<string[]> {
  const failed: string[] = [];
  const explain = (path: string, error: unknown): void => {
    const { code } = error as NodeJS.ErrnoException;
    const missing = path.startsWith('net/bridge') ? 'load the module br_netfilter' : 'IPv6 is off';
    failed.push(`${path.replaceAll('/', '.')} (${code === 'ENOENT' ? missing : code})`);
  };
  if (ipv6) await keepAdvertisedRoutes().catch((error: unknown) => explain('net/ipv6/conf/all/accept_ra', error));
  for (const [path, family, needed] of settings) {
    if (family === 6 && !ipv6) continue;
    await set(path, '1').catch((error: unknown) => {
      if (needed) explain(path, error);
    });
  }
  return failed;
}
