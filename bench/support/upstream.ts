/**
 * Upstream's kube-apiserver and etcd as a server to measure beside ours: named by KNARR_BENCH_KUBE_APISERVER and KNARR_BENCH_ETCD,
 * and started as kubeadm starts them: RBAC and Node, the default admission plugins and NodeRestriction, TLS everywhere, durable.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort, knarr, Running } from '../../test/support/processes.ts';
import type { BenchServer } from './server.ts';
import { clientOf } from './server.ts';

const issuer = 'https://kubernetes.default.svc.cluster.local';

/** Undefined: the binaries are not named. */
export async function upstreamServer(): Promise<BenchServer | undefined> {
  const apiServer = process.env['KNARR_BENCH_KUBE_APISERVER'];
  const etcd = process.env['KNARR_BENCH_ETCD'];
  if (apiServer === undefined || etcd === undefined) return undefined;
  const dir = mkdtempSync(join(tmpdir(), 'knarr-upstream-'));
  const port = await freePort();
  const url = `https://127.0.0.1:${port}`;
  const clients = `https://127.0.0.1:${await freePort()}`;
  const peers = `https://127.0.0.1:${await freePort()}`;
  const pki = (name: string): string => join(dir, 'pki', name);
  const made = await knarr(['certificates', '--data-dir', dir, '--server', url]);
  if (made.code !== 0) throw new Error(`no certificates:\n${made.stderr}`);
  const running: Running[] = [];
  const start = (name: string, command: string, flags: Readonly<Record<string, string>>): Running => {
    const process = new Running(
      name,
      command,
      Object.entries(flags).map(([flag, value]) => `--${flag}=${value}`),
      dir,
    );
    running.push(process);
    return process;
  };
  const stop = async (): Promise<void> => {
    for (const process of running.toReversed()) await process.stop();
    rmSync(dir, { recursive: true, force: true });
  };
  try {
    const store = start('etcd', etcd, {
      name: 'bench',
      'data-dir': join(dir, 'etcd'),
      'listen-client-urls': clients,
      'advertise-client-urls': clients,
      'listen-peer-urls': peers,
      'initial-advertise-peer-urls': peers,
      'initial-cluster': `bench=${peers}`,
      'cert-file': pki('etcd/server.crt'),
      'key-file': pki('etcd/server.key'),
      'client-cert-auth': 'true',
      'trusted-ca-file': pki('etcd/ca.crt'),
      'peer-cert-file': pki('etcd/server.crt'),
      'peer-key-file': pki('etcd/server.key'),
      'peer-trusted-ca-file': pki('etcd/ca.crt'),
    });
    const api = start('kube-apiserver', apiServer, {
      'bind-address': '127.0.0.1',
      'advertise-address': '127.0.0.1',
      'secure-port': String(port),
      'allow-privileged': 'true',
      'authorization-mode': 'Node,RBAC',
      'enable-admission-plugins': 'NodeRestriction',
      'enable-bootstrap-token-auth': 'true',
      'client-ca-file': pki('ca.crt'),
      'etcd-servers': clients,
      'etcd-cafile': pki('etcd/ca.crt'),
      'etcd-certfile': pki('apiserver-etcd-client.crt'),
      'etcd-keyfile': pki('apiserver-etcd-client.key'),
      'kubelet-client-certificate': pki('apiserver-kubelet-client.crt'),
      'kubelet-client-key': pki('apiserver-kubelet-client.key'),
      'requestheader-allowed-names': 'front-proxy-client',
      'requestheader-client-ca-file': pki('front-proxy-ca.crt'),
      'requestheader-extra-headers-prefix': 'X-Remote-Extra-',
      'requestheader-group-headers': 'X-Remote-Group',
      'requestheader-username-headers': 'X-Remote-User',
      'service-account-issuer': issuer,
      'service-account-key-file': pki('sa.pub'),
      'service-account-signing-key-file': pki('sa.key'),
      'service-cluster-ip-range': '10.96.0.0/12',
      'tls-cert-file': pki('apiserver.crt'),
      'tls-private-key-file': pki('apiserver.key'),
    });
    const ended = Promise.race(running.map((p) => p.exited.then((code) => ({ p, code }))));
    return await Promise.race([
      clientOf({
        url,
        kubeconfig: join(dir, 'super-admin.conf'),
        pids: [api.child.pid!, store.child.pid!],
        loop: undefined,
        stop,
      }),
      ended.then(({ p, code }) => {
        throw new Error(`${p.name} ended with ${code}:\n${p.output.slice(-4000)}`);
      }),
    ]);
  } catch (e) {
    await stop();
    throw e;
  }
}
