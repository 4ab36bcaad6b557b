/** CRI-O for tests, where it is installed: `KNARR_CRIO_BIN` names a folder with `crio` and `pinns`. */
import { chmodSync, existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

function find(program: string): string | undefined {
  const own = process.env['KNARR_CRIO_BIN'];
  const folders = [...(own === undefined ? [] : [own]), ...(process.env['PATH'] ?? '').split(':')];
  folders.push('/usr/sbin', '/usr/bin', '/usr/local/bin', '/usr/libexec/crio');
  return folders.map((f) => join(f, program)).find((f) => existsSync(f));
}

/** Why tests on CRI-O cannot run here; false when they can. */
export function crioMissing(): string | false {
  const missing = ['crio', 'pinns', 'conmon', 'runc'].filter((p) => find(p) === undefined);
  if (find('skopeo') === undefined && find('podman') === undefined) missing.push('skopeo');
  return missing.length === 0 ? false : `CRI-O is not installed here (missing: ${missing.join(', ')})`;
}

/** Writes its configuration below `dir` and tells the command that starts it. */
export function crioCommand(
  dir: string,
  o: { readonly image: string; readonly socket: string; readonly cniConfDir: string; readonly cniBinDir: string },
): string[] {
  for (const d of ['attach', 'exits', 'ns', 'log']) mkdirSync(join(dir, d), { recursive: true });
  // Where the kernel grants no CAP_SYS_RESOURCE, nothing may ask to be spared when memory runs out; where nobody has mounted the
  // controller of huge pages, nothing may be limited by it. containerd can be told both, CRI-O cannot.
  const runtime = join(dir, 'runc.sh');
  writeFileSync(
    runtime,
    `#!/bin/sh
b=; n=
for a; do [ -n "$n" ] && b=$a; n=; case $a in --bundle|-b) n=1;; esac; done
[ -n "$b" ] && [ -f "$b/config.json" ] && sed -z -i 's/"oomScoreAdj": *-[0-9]*/"oomScoreAdj":0/; s/"hugepageLimits": *\\[[^]]*\\]/"hugepageLimits":[]/' "$b/config.json"
exec ${find('runc')} "$@"
`,
  );
  chmodSync(runtime, 0o755);
  writeFileSync(join(dir, 'policy.json'), '{"default":[{"type":"insecureAcceptAnything"}]}');
  writeFileSync(
    join(dir, 'registries.conf'),
    'unqualified-search-registries = ["docker.io"]\nshort-name-mode = "disabled"\n',
  );
  writeFileSync(
    join(dir, 'crio.conf'),
    `[crio]
root = "${dir}/root"
runroot = "${dir}/state"
storage_driver = "overlay"
log_dir = "${dir}/log/crio"
version_file = "${dir}/state/version"
version_file_persist = "${dir}/version"
clean_shutdown_file = "${dir}/clean.shutdown"
[crio.api]
listen = "${o.socket}"
stream_address = "127.0.0.1"
stream_port = "0"
[crio.runtime]
cgroup_manager = "cgroupfs"
conmon_cgroup = "pod"
pinns_path = "${find('pinns')}"
default_runtime = "runc"
container_exits_dir = "${dir}/exits"
container_attach_socket_dir = "${dir}/attach"
namespaces_dir = "${dir}/ns"
apparmor_profile = "unconfined"
enable_pod_events = true
[crio.runtime.runtimes.runc]
runtime_path = "${runtime}"
runtime_type = "oci"
runtime_root = "${dir}/runc"
monitor_path = "${find('conmon')}"
monitor_cgroup = "pod"
[crio.image]
pause_image = "${o.image}"
signature_policy = "${dir}/policy.json"
[crio.network]
network_dir = "${o.cniConfDir}"
plugin_dirs = ["${o.cniBinDir}"]
[crio.nri]
enable_nri = false
`,
  );
  return [
    find('crio')!,
    '--config',
    join(dir, 'crio.conf'),
    '--config-dir',
    '',
    '--registries-conf',
    join(dir, 'registries.conf'),
  ];
}
