/** `knarr certificates` and `knarr addons`: what an installer does around components that run as processes of their own. */
import { resolve } from 'node:path';
import { SystemClock } from '../../base/clock.ts';
import { SystemRandom } from '../../base/random.ts';
import { UsageError, UserError } from '../errors.ts';
import type { CommandSpec } from '../flags.ts';
import { componentCommand } from './component.ts';

/** `name` or `name=address`; an address may come several times. */
function nodesOf(list: readonly string[]): { name: string; addresses: string[] }[] {
  const nodes = new Map<string, string[]>();
  for (const entry of list) {
    const [name, address] = entry.split('=') as [string, string | undefined];
    if (!/^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/.test(name))
      throw new UsageError(`invalid argument ${JSON.stringify(entry)} for "--nodes": ${name} is no node name`);
    const addresses = nodes.get(name) ?? [];
    if (address !== undefined) addresses.push(address);
    nodes.set(name, addresses);
  }
  return [...nodes].map(([name, addresses]) => ({ name, addresses }));
}

export const certificatesCommand: CommandSpec = {
  name: 'certificates',
  summary: 'make certificates and kubeconfigs for separate processes',
  description:
    "Makes what components need that run as processes of their own, under kubeadm's names: pki/, admin.conf, super-admin.conf, controller-manager.conf, scheduler.conf, …, and nodes/NODE/ with the files of each kubelet. What is there already is kept; run it again to add nodes or names.",
  flags: [
    { name: 'data-dir', kind: 'string', value: 'DIR', help: 'where to write' },
    {
      name: 'server',
      kind: 'string',
      value: 'URL',
      default: 'https://127.0.0.1:6443',
      help: 'where the API server will be',
    },
    { name: 'hosts', kind: 'list', help: 'further names and addresses of the API server and of etcd' },
    { name: 'nodes', kind: 'list', value: 'name[=address],…', help: 'nodes to make files for' },
    {
      name: 'service-cluster-ip-range',
      kind: 'string',
      value: 'CIDR',
      default: '10.96.0.0/12',
      help: "as kube-apiserver's flag",
    },
  ],
  examples: [
    ['knarr certificates --data-dir ./k --nodes node-1', 'everything for one machine'],
    ['knarr certificates --data-dir ./k --server https://10.0.0.1:6443 --nodes a=10.0.0.2,b=10.0.0.3', 'for three'],
  ],
  async run(values) {
    const dir = values['data-dir'] as string | undefined;
    if (dir === undefined) throw new UsageError('--data-dir DIR is needed: where to write');
    const server = values['server'] as string;
    if (!URL.canParse(server) || !server.startsWith('https://'))
      throw new UsageError(`invalid argument ${JSON.stringify(server)} for "--server": it is an https URL`);
    const { makeCertificates } = await import('../../cluster/certificates-dir.ts');
    const nodes = nodesOf((values['nodes'] as string[] | undefined) ?? []);
    let files: string[];
    try {
      files = await makeCertificates({
        dir: resolve(dir),
        clock: new SystemClock(),
        random: new SystemRandom(),
        server,
        hosts: (values['hosts'] as string[] | undefined) ?? [],
        nodes,
        serviceClusterIPRange: values['service-cluster-ip-range'] as string,
      });
    } catch (e) {
      if ((e as NodeJS.ErrnoException).code === undefined) throw e;
      throw new UserError(`cannot write to ${dir}: ${(e as Error).message}; choose another with --data-dir`, {
        cause: e,
      });
    }
    process.stdout.write(`made pki/ ${files.filter((f) => !f.includes('/pki/')).join(' ')} in ${resolve(dir)}\n`);
  },
};

export const addonsCommand = componentCommand({
  name: 'addons',
  summary: 'install what a bare control plane lacks',
  description:
    "Adds to a control plane of separate processes what an installer adds: the administrators' role binding, the kube-dns Service, the roles of cloud-controller-manager and dns, cluster-info. What is there already stays as it is.",
  flags: [
    {
      name: 'kubeconfig',
      kind: 'string',
      value: 'FILE',
      help: 'super-admin.conf of "knarr certificates", or another that may do everything',
    },
    { name: 'dns-service-ip', kind: 'string', value: 'ADDRESS', default: '10.96.0.10', help: "kube-dns' cluster IP" },
    { name: 'dns', kind: 'bool', default: true, help: 'with the kube-dns Service' },
    { name: 'timeout', kind: 'duration', default: 60_000, help: 'how long to wait for the API server' },
  ],
  examples: [['knarr addons --kubeconfig super-admin.conf', 'once, when kube-apiserver runs']],
  async run(v, env) {
    const { runAddons } = await import('../../cluster/processes/install-addons.ts');
    await runAddons(
      {
        kubeconfig: v.string('kubeconfig'),
        dnsServiceIP: v.text('dns-service-ip'),
        dns: v.bool('dns'),
        timeoutMs: v.ms('timeout'),
      },
      env,
    );
  },
});
