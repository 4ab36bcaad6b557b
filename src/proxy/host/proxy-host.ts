/**
 * `ProxyHost`: what the proxy needs of the machine (or of one network namespace on it): the packet filter, connection tracking,
 * kernel settings, addresses, ports to listen on. The only door of this room to processes, files and sockets.
 */

/** Why nft refused a transaction, or could not be run. */
export class NftError extends Error {
  override readonly name = 'NftError';
}

export interface HttpAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

export interface Listener {
  close(): Promise<void>;
}

export interface ProxyHost {
  /** Undefined when rules can be written here; else one line that says what is missing. */
  missing(): Promise<string | undefined>;
  /** Runs the text as one transaction: all of it or nothing. Rejects with an `NftError`. */
  nft(text: string): Promise<void>;
  /** What nft answers. */
  nftList(args: readonly string[]): Promise<string>;
  /** Runs conntrack and hands over its answer line by line. Rejects when it is not installed. */
  conntrack(args: readonly string[], onLine?: (line: string) => void): Promise<void>;
  /** A setting below /proc/sys, by its path there; undefined when the kernel has none. */
  sysctl(path: string): Promise<string | undefined>;
  setSysctl(path: string, value: string): Promise<void>;
  /** Loads a module of the kernel; rejects when it cannot be had. */
  loadModule(name: string): Promise<void>;
  /** Addresses of all interfaces. */
  addresses(): Promise<readonly string[]>;
  processors(): number;
  /** Serves HTTP; every path gets the same answer. */
  serve(address: string, port: number, answer: () => HttpAnswer): Promise<Listener>;
  close(): Promise<void>;
}
