/** Where things stand on a person's machine, by the platform's convention, and how they lie in a data directory. */
import { homedir } from 'node:os';
import { join } from 'node:path';

type Environment = Readonly<Record<string, string | undefined>>;

/** The default data directory: XDG on Linux, Application Support on macOS, LOCALAPPDATA on Windows. */
export function defaultDataDir(env: Environment, platform: NodeJS.Platform, home = homedir()): string {
  if (platform === 'darwin') return join(home, 'Library', 'Application Support', 'knarr');
  if (platform === 'win32') return join(env['LOCALAPPDATA'] || join(home, 'AppData', 'Local'), 'knarr');
  return join(env['XDG_DATA_HOME'] || join(home, '.local', 'share'), 'knarr');
}

/** The file that kubectl reads first: the first entry of $KUBECONFIG, else ~/.kube/config. */
export function defaultKubeconfig(env: Environment, platform: NodeJS.Platform, home = homedir()): string {
  const first = env['KUBECONFIG']?.split(platform === 'win32' ? ';' : ':').find((p) => p !== '');
  return first ?? join(home, '.kube', 'config');
}

export interface DataDir {
  readonly root: string;
  readonly pki: string;
  readonly store: string;
  /** The administrator's kubeconfig, as kubeadm names it. */
  readonly adminConf: string;
  /** What the running server says of itself: pid, address, log file. */
  readonly state: string;
  readonly log: string;
  /** Where the real node's parts are, for taking them away. */
  readonly node: string;
}

export function dataDirLayout(root: string): DataDir {
  return {
    root,
    pki: join(root, 'pki'),
    store: join(root, 'etcd'),
    adminConf: join(root, 'admin.conf'),
    state: join(root, 'server.json'),
    log: join(root, 'knarr.log'),
    node: join(root, 'node.json'),
  };
}
