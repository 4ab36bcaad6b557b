/** `knarr token create | list | delete`: the bootstrap tokens with which machines join. */
import { X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { SystemClock } from '../base/clock.ts';
import { SystemRandom } from '../base/random.ts';
import type { AdminConnection } from '../cluster/joining/admin.ts';
import { openAdmin } from '../cluster/joining/admin.ts';
import { dataDirLayout } from '../cluster/paths.ts';
import { UserError } from './errors.ts';
import type { CommandSpec, Flag, FlagValues } from './flags.ts';
import { dataDirFlag, dataDirOf } from './up.ts';

const kubeconfigFlag: Flag = {
  name: 'kubeconfig',
  kind: 'string',
  value: 'FILE',
  help: "an administrator's kubeconfig (default: that of the cluster in --data-dir)",
};

/** The administrator's way to the cluster that the flags name, for as long as `work` takes. */
async function asAdmin<T>(values: FlagValues, work: (admin: AdminConnection) => Promise<T>): Promise<T> {
  const file = (values['kubeconfig'] as string | undefined) ?? dataDirLayout(dataDirOf(values)).adminConf;
  let admin: AdminConnection;
  try {
    admin = await openAdmin(file, new SystemClock(), new SystemRandom());
  } catch (e) {
    if ((e as NodeJS.ErrnoException).code !== 'ENOENT')
      throw new UserError(`cannot use ${file}: ${(e as Error).message}`, { cause: e });
    throw new UserError(`there is no ${file}: start a cluster with "knarr up", or name one with --kubeconfig`, {
      cause: e,
    });
  }
  try {
    return await work(admin);
  } catch (e) {
    throw new UserError((e as Error).message, { cause: e });
  } finally {
    await admin.client.transport.close();
  }
}

const createCommand: CommandSpec = {
  name: 'create',
  summary: 'make a token and print how to join with it',
  description:
    'Makes a bootstrap token and prints the command that adds a machine as a node. A token opens the way to a node’s identity: keep it to yourself, and let it expire.',
  argument: { name: 'token', help: 'id.secret, of the form [a-z0-9]{6}.[a-z0-9]{16} (default: made)', optional: true },
  flags: [
    dataDirFlag,
    kubeconfigFlag,
    { name: 'ttl', kind: 'duration', default: 24 * 3_600_000, help: 'how long it is good; 0: for ever' },
    { name: 'description', kind: 'string', value: 'TEXT', help: 'what it is for' },
    { name: 'print-token', kind: 'bool', default: false, help: 'print the token alone' },
    {
      name: 'bootstrap-kubeconfig',
      kind: 'bool',
      default: false,
      help: "print a bootstrap kubeconfig with it, for upstream's kubelet",
    },
  ],
  examples: [
    ['knarr token create --bootstrap-kubeconfig > bootstrap-kubelet.conf', "for upstream's kubelet"],
    ['knarr token create', 'prints "knarr join …" for the other machine'],
    ['knarr token create --ttl 10m --print-token', 'for a script'],
  ],
  async run(values, argument) {
    const { createToken, publicKeyHash } = await import('../cluster/joining/tokens.ts');
    const description = values['description'] as string | undefined;
    await asAdmin(values, async ({ client, ca, publicServer }) => {
      const token = await createToken(client, new SystemClock(), new SystemRandom(), {
        ttlMs: values['ttl'] as number,
        ...(argument === undefined ? {} : { token: argument }),
        ...(description === undefined ? {} : { description }),
      });
      if (values['bootstrap-kubeconfig'] === true) {
        const { renderKubeconfig } = await import('../cluster/kubeconfig.ts');
        if (ca === undefined) throw new UserError('the kubeconfig names no authority of the API server');
        const server = await publicServer();
        process.stdout.write(renderKubeconfig({ name: 'knarr', server, certificateAuthority: ca, token }));
        return;
      }
      const hash = ca === undefined ? '' : ` --ca-cert-hash ${publicKeyHash(ca)}`;
      process.stdout.write(
        values['print-token'] === true
          ? `${token}\n`
          : `knarr join --server ${await publicServer()} --token ${token}${hash}\n`,
      );
    });
  },
};

const listCommand: CommandSpec = {
  name: 'list',
  summary: 'list the tokens',
  flags: [dataDirFlag, kubeconfigFlag],
  async run(values) {
    const { listTokens } = await import('../cluster/joining/tokens.ts');
    const tokens = await asAdmin(values, ({ client }) => listTokens(client, new SystemClock()));
    const rows = [['TOKEN', 'TTL', 'EXPIRES', 'USAGES', 'DESCRIPTION', 'EXTRA GROUPS']];
    for (const t of tokens)
      rows.push([
        t.token,
        t.timeLeft === Infinity ? '<forever>' : t.timeLeft === 0 ? '<expired>' : `${Math.ceil(t.timeLeft / 60_000)}m`,
        t.expires === '' ? '<never>' : t.expires,
        t.usages.length === 0 ? '<none>' : t.usages.join(','),
        t.description === '' ? '<none>' : t.description,
        t.groups === '' ? '<none>' : t.groups,
      ]);
    const widths = rows[0]!.map((_, i) => Math.max(...rows.map((r) => r[i]!.length)));
    for (const r of rows)
      process.stdout.write(
        `${r
          .map((c, i) => c.padEnd(widths[i]!))
          .join('   ')
          .trimEnd()}\n`,
      );
  },
};

const deleteCommand: CommandSpec = {
  name: 'delete',
  summary: 'revoke a token',
  argument: { name: 'token', help: 'the token, or its id' },
  flags: [dataDirFlag, kubeconfigFlag],
  async run(values, argument) {
    const { deleteToken } = await import('../cluster/joining/tokens.ts');
    const there = await asAdmin(values, ({ client }) => deleteToken(client, argument!));
    if (!there) throw new UserError(`there is no token ${argument!.split('.')[0]}`);
    process.stdout.write('revoked\n');
  },
};

const hashCommand: CommandSpec = {
  name: 'ca-cert-hash',
  summary: "print the hash of the cluster's authority, for knarr join",
  flags: [dataDirFlag],
  async run(values) {
    const { publicKeyHash } = await import('../cluster/joining/tokens.ts');
    const file = `${dataDirLayout(dataDirOf(values)).pki}/ca.crt`;
    try {
      const text = await readFile(file, 'utf8');
      void new X509Certificate(text);
      process.stdout.write(`${publicKeyHash(text)}\n`);
    } catch (e) {
      throw new UserError(`cannot read ${file}: start a cluster with "knarr up"`, { cause: e });
    }
  },
};

export const tokenCommand: CommandSpec = {
  name: 'token',
  summary: 'make, list and revoke the tokens with which machines join',
  flags: [],
  subcommands: [createCommand, listCommand, deleteCommand, hashCommand],
  run: () => Promise.resolve(),
};
