/** The programs that every simulated image with a shell has, by name. */
import type { Process, Program } from './process.ts';
import { chmod, chown, cp, du, find, ln, ls, mkdir, mv, readlink, rm, rmdir, stat, touch } from './programs-files.ts';
import { networkPrograms } from './programs-network.ts';
import {
  date,
  echo,
  env,
  id,
  kill,
  pause,
  printenv,
  printf,
  ps,
  seq,
  sleep,
  test,
  timeout,
  xargs,
  yes,
} from './programs-system.ts';
import { base64, cat, cut, dd, digest, grep, head, sed, sort, tail, tee, tr, uniq, wc } from './programs-text.ts';
import { sh } from './shell.ts';
import { tar } from './tar.ts';

const say =
  (text: (p: Process) => string): Program =>
  async (p) => {
    await p.out(`${text(p)}\n`);
    return 0;
  };

/** Every built-in program by its name. */
export const builtinPrograms: ReadonlyMap<string, Program> = new Map<string, Program>([
  ['sh', sh],
  ['bash', sh],
  ['ash', sh],
  ['cat', cat],
  ['ls', ls],
  ['echo', echo],
  ['printf', printf],
  ['sleep', sleep],
  ['env', env],
  ['printenv', printenv],
  ['true', () => 0],
  ['false', () => 1],
  ['pwd', say((p) => p.cwd)],
  ['mkdir', mkdir],
  ['rm', rm],
  ['rmdir', rmdir],
  ['touch', touch],
  ['cp', cp],
  ['mv', mv],
  ['ln', ln],
  ['readlink', readlink],
  ['realpath', (p) => p.spawn({ argv: ['readlink', '-f', ...p.args] }, readlink)],
  ['chmod', chmod],
  ['chown', chown],
  ['stat', stat],
  ['head', head],
  ['tail', tail],
  ['grep', grep],
  ['sed', sed],
  ['wc', wc],
  ['sort', sort],
  ['uniq', uniq],
  ['cut', cut],
  ['tr', tr],
  ['tee', tee],
  ['seq', seq],
  ['xargs', xargs],
  ['date', date],
  ['hostname', say((p) => (p.args.includes('-i') ? p.at.ips.join(' ') : p.at.hostname))],
  ['id', id],
  ['whoami', say((p) => (p.at.uid === 0 ? 'root' : String(p.at.uid)))],
  [
    'uname',
    say((p) =>
      p.args.includes('-a')
        ? `Linux ${p.at.hostname} 6.12.0 #1 SMP x86_64 GNU/Linux`
        : p.args.includes('-n')
          ? p.at.hostname
          : p.args.includes('-m')
            ? 'x86_64'
            : p.args.includes('-r')
              ? '6.12.0'
              : 'Linux',
    ),
  ],
  [
    'basename',
    say(
      (p) =>
        (p.args[0] ?? '')
          .replace(/\/+$/, '')
          .split('/')
          .at(-1)!
          .replace(
            p.args[1] === undefined ? '' : new RegExp(`${p.args[1].replace(/[.*+?^${}()|[\]\\]/g, '\\$&')}$`),
            '',
          ) || '/',
    ),
  ],
  ['dirname', say((p) => /^(.*)\/[^/]+\/*$/.exec(p.args[0] ?? '')?.[1] || (p.args[0]?.startsWith('/') ? '/' : '.'))],
  [
    'which',
    async (p) => {
      let code = 0;
      for (const a of p.args) {
        if (p.at.find(a) === undefined) code = 1;
        else await p.out(`/bin/${a}\n`);
      }
      return code;
    },
  ],
  ['ps', ps],
  ['kill', kill],
  ['test', test],
  ['[', test],
  ['timeout', timeout],
  ['dd', dd],
  ['md5sum', digest('md5')],
  ['sha256sum', digest('sha256')],
  ['base64', base64],
  ['find', find],
  ['du', du],
  ['yes', yes],
  ['sync', () => 0],
  ['clear', () => 0],
  ['tar', tar],
  ['pause', pause],
  ...networkPrograms,
]);
