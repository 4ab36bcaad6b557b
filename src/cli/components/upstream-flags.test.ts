/** Command lines of upstream's components: each flag of theirs is one of ours, and what kubeadm writes into its manifests is taken. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Command } from 'commander';
import { upstreamFlags } from '../../../test/support/upstream-flags.ts';
import { componentCommands } from '../components.ts';
import { addCommand, normalizeArgs, type FlagValues } from '../flags.ts';

for (const [component, names] of Object.entries(upstreamFlags))
  test(`${component} has every flag of upstream's, each once`, () => {
    const program = new Command();
    const command = componentCommands.find((c) => c.name === component)!;
    addCommand(program, command);
    const help = program.commands[0]!.helpInformation();
    const ours = [...help.matchAll(/^ {2}(?:-\w, )?--([a-z0-9-]+)/gm)].map((m) => m[1]!);
    assert.equal(ours.length, new Set(ours).size);
    assert.deepEqual(
      names.filter((name) => !ours.includes(name)),
      [],
    );
  });

/** The values that a command line comes to. */
async function parsed(component: string, args: readonly string[]): Promise<FlagValues> {
  let values: FlagValues | undefined;
  const program = new Command().exitOverride();
  addCommand(program, {
    ...componentCommands.find((c) => c.name === component)!,
    run: (v) => {
      values = v;
      return Promise.resolve();
    },
  });
  await program.parseAsync(normalizeArgs([component, ...args]), { from: 'user' });
  return values!;
}

test("kubeadm's static pods", async () => {
  const manager = await parsed('kube-controller-manager', [
    '--allocate-node-cidrs=true',
    '--authentication-kubeconfig=/etc/kubernetes/controller-manager.conf',
    '--authorization-kubeconfig=/etc/kubernetes/controller-manager.conf',
    '--bind-address=127.0.0.1',
    '--client-ca-file=/etc/kubernetes/pki/ca.crt',
    '--cluster-cidr=10.244.0.0/16',
    '--cluster-name=kubernetes',
    '--cluster-signing-cert-file=/etc/kubernetes/pki/ca.crt',
    '--cluster-signing-key-file=/etc/kubernetes/pki/ca.key',
    '--controllers=*,bootstrapsigner,tokencleaner',
    '--kubeconfig=/etc/kubernetes/controller-manager.conf',
    '--leader-elect=true',
    '--requestheader-client-ca-file=/etc/kubernetes/pki/front-proxy-ca.crt',
    '--root-ca-file=/etc/kubernetes/pki/ca.crt',
    '--service-account-private-key-file=/etc/kubernetes/pki/sa.key',
    '--service-cluster-ip-range=10.96.0.0/12',
    '--use-service-account-credentials=true',
  ]);
  assert.deepEqual(manager['controllers'], ['*', 'bootstrapsigner', 'tokencleaner']);
  assert.equal(manager['service-cluster-ip-range'], '10.96.0.0/12');
  const server = await parsed('kube-apiserver', [
    '--advertise-address=192.168.1.2',
    '--allow-privileged=true',
    '--authorization-mode=Node,RBAC',
    '--client-ca-file=/etc/kubernetes/pki/ca.crt',
    '--enable-admission-plugins=NodeRestriction',
    '--enable-bootstrap-token-auth=true',
    '--etcd-cafile=/etc/kubernetes/pki/etcd/ca.crt',
    '--etcd-certfile=/etc/kubernetes/pki/apiserver-etcd-client.crt',
    '--etcd-keyfile=/etc/kubernetes/pki/apiserver-etcd-client.key',
    '--etcd-servers=https://127.0.0.1:2379',
    '--kubelet-client-certificate=/etc/kubernetes/pki/apiserver-kubelet-client.crt',
    '--kubelet-client-key=/etc/kubernetes/pki/apiserver-kubelet-client.key',
    '--kubelet-preferred-address-types=InternalIP,ExternalIP,Hostname',
    '--proxy-client-cert-file=/etc/kubernetes/pki/front-proxy-client.crt',
    '--proxy-client-key-file=/etc/kubernetes/pki/front-proxy-client.key',
    '--requestheader-allowed-names=front-proxy-client',
    '--requestheader-client-ca-file=/etc/kubernetes/pki/front-proxy-ca.crt',
    '--requestheader-extra-headers-prefix=X-Remote-Extra-',
    '--requestheader-group-headers=X-Remote-Group',
    '--requestheader-username-headers=X-Remote-User',
    '--secure-port=6443',
    '--service-account-issuer=https://kubernetes.default.svc.cluster.local',
    '--service-account-key-file=/etc/kubernetes/pki/sa.pub',
    '--service-account-key-file=/etc/kubernetes/pki/old,older.pub',
    '--service-account-signing-key-file=/etc/kubernetes/pki/sa.key',
    '--service-cluster-ip-range=10.96.0.0/12',
    '--tls-cert-file=/etc/kubernetes/pki/apiserver.crt',
    '--tls-private-key-file=/etc/kubernetes/pki/apiserver.key',
  ]);
  assert.equal(server['allow-privileged'], true);
  assert.deepEqual(server['service-account-key-file'], [
    '/etc/kubernetes/pki/sa.pub',
    '/etc/kubernetes/pki/old,older.pub',
  ]);
  const scheduler = await parsed('kube-scheduler', [
    '--authentication-kubeconfig=/etc/kubernetes/scheduler.conf',
    '--authorization-kubeconfig=/etc/kubernetes/scheduler.conf',
    '--bind-address=127.0.0.1',
    '--kubeconfig=/etc/kubernetes/scheduler.conf',
    '--leader-elect=true',
  ]);
  assert.equal(scheduler['bind-address'], '127.0.0.1');
});
