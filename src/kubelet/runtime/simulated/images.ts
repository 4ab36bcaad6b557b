/**
 * Images of the simulated runtime: what stands in them, what they run, how they behave. Registered ones come from a test or
 * the assembly; any other reference is an image nobody has described, whose program runs until it is told to stop.
 */
import type { Duplex } from 'node:stream';
import type { DirNode, FileSpec } from './file-system.ts';
import { treeOf } from './file-system.ts';
import type { Program } from './process.ts';
import { builtinPrograms } from './programs.ts';
import { pause } from './programs-system.ts';

/**
 * How containers behave. Settable for the whole node, by image and by pod annotation
 * (`knarr.dev/simulated.<name>` or, for one container, `knarr.dev/simulated.<name>.<container>`); the later wins.
 */
export interface Behaviour {
  /** `start-delay`: how long starting a container takes. */
  readonly startDelayMs?: number;
  /** `start-error`: starting fails with this text. */
  readonly startError?: string;
  /** `pull-delay`: how long pulling the image takes. */
  readonly pullDelayMs?: number;
  /** `pull-error`: pulling fails with this text. */
  readonly pullError?: string;
  /** `exit-after`: the default program ends after this time. */
  readonly exitAfterMs?: number;
  /** `exit-code`: with this code (0 when only `exit-after` is set); at once when `exit-after` is not set. */
  readonly exitCode?: number;
  /** `exit-reason`: the reason of the termination, such as `OOMKilled`. */
  readonly exitReason?: string;
  /** `ready-after`: the built-in server answers 503, and refuses TCP and gRPC, before this time after the start. */
  readonly readyAfterMs?: number;
  /** `stop-delay`: how long the default program takes to end after SIGTERM. */
  readonly stopDelayMs?: number;
  /** `ports`: the only ports that the default program listens on (all when left out). */
  readonly ports?: readonly number[];
  /** `http-status`: what the built-in server answers. */
  readonly httpStatus?: number;
  /** `log`: a line that the default program writes when it starts. */
  readonly log?: string;
  /** `cpu`: usage in cores (a quantity as annotation). */
  readonly cpuCores?: number;
  /** `memory`: working set in bytes (a quantity as annotation). */
  readonly memoryBytes?: number;
}

/** What an image registered by a test or a user looks like. */
export interface SimulatedImage {
  readonly entrypoint?: readonly string[];
  readonly command?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly workingDir?: string;
  /** The numeric user that its processes run as; 0 when left out. */
  readonly user?: number;
  readonly stopSignal?: string;
  readonly files?: FileSpec;
  /** Programs of the image, by command name or path. */
  readonly programs?: Readonly<Record<string, Program>>;
  /** False: the image has no shell and none of the built-in programs (distroless, scratch). */
  readonly shell?: boolean;
  /** Answers connections to a port of its containers. */
  readonly listen?: Readonly<Record<number, (stream: Duplex) => void>>;
  /** True: a command that is not among the programs cannot be started. Otherwise it runs until it is told to stop. */
  readonly closed?: boolean;
  readonly behaviour?: Behaviour;
  /** In bytes. */
  readonly size?: number;
}

/** An image as the runtime uses it. */
export interface ResolvedImage {
  /** Normalized reference with tag or digest. */
  readonly ref: string;
  readonly id: string;
  readonly digest: string;
  readonly image: SimulatedImage;
  readonly root: DirNode;
}

/** `nginx` → `docker.io/library/nginx:latest`, as container runtimes write references. */
export function normalizeImage(name: string): string {
  let domain = 'docker.io';
  let rest = name;
  const slash = name.indexOf('/');
  if (slash !== -1) {
    const first = name.slice(0, slash);
    if (first.includes('.') || first.includes(':') || first === 'localhost') {
      domain = first === 'index.docker.io' ? 'docker.io' : first;
      rest = name.slice(slash + 1);
    }
  }
  if (domain === 'docker.io' && !rest.includes('/')) rest = `library/${rest}`;
  if (!rest.includes('@') && !/:[^/]+$/.test(rest)) rest += ':latest';
  return `${domain}/${rest}`;
}

/** A stable 256-bit digest of a reference: no cryptography is wanted, only the look of one. */
function pseudoDigest(text: string): string {
  let out = '';
  for (let i = 0; i < 8; i++) {
    let h = 0x811c9dc5 ^ Math.imul(i + 1, 0x9e3779b1);
    for (let j = 0; j < text.length; j++) h = Math.imul(h ^ text.charCodeAt(j), 0x01000193);
    h ^= h >>> 15;
    h = Math.imul(h, 0x2c1b3c6d);
    h ^= h >>> 12;
    out += (h >>> 0).toString(16).padStart(8, '0');
  }
  return out;
}

const commonFiles: FileSpec = {
  '/bin/': '',
  '/dev/': '',
  '/etc/passwd': 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n',
  '/etc/group': 'root:x:0:\nnobody:x:65534:\n',
  '/home/': '',
  '/mnt/': '',
  '/opt/': '',
  '/proc/': '',
  '/root/': '',
  '/run/': '',
  '/srv/': '',
  '/sys/': '',
  '/tmp/': '',
  '/usr/bin/': '',
  '/usr/local/bin/': '',
  '/var/log/': '',
  '/var/run': { link: '/run' },
  '/var/tmp/': '',
};

/** Images that people use as a tool box: their commands are known, others do not exist. */
const toolboxes = ['busybox', 'alpine', 'debian', 'ubuntu', 'bash'];

/** The images of one cluster's simulated nodes. */
export class SimulatedImages {
  readonly #registered = new Map<string, SimulatedImage>();
  readonly #programs = new Map<string, Program>();
  readonly #resolved = new Map<string, ResolvedImage>();
  readonly #base: DirNode;
  readonly #bare: DirNode;

  constructor() {
    const files: Record<string, FileSpec[string]> = { ...commonFiles };
    for (const name of builtinPrograms.keys()) files[`/bin/${name}`] = { data: '#!simulated\n', mode: 0o755 };
    this.#base = treeOf(files, 0);
    this.#bare = treeOf(commonFiles, 0);
    this.register('registry.k8s.io/pause:3.10', {
      entrypoint: ['/pause'],
      shell: false,
      closed: true,
      programs: { '/pause': pause },
      size: 320_000,
    });
    for (const name of toolboxes)
      this.register(name, {
        command: [name === 'bash' || name === 'ubuntu' || name === 'debian' ? 'bash' : 'sh'],
        closed: true,
        size: 4_000_000,
      });
  }

  /** Describes an image. A reference without tag describes every tag. */
  register(ref: string, image: SimulatedImage): void {
    const key = /[@]|:[^/]+$/.test(ref) ? normalizeImage(ref) : normalizeImage(ref).replace(/:latest$/, '');
    this.#registered.set(key, image);
    this.#resolved.clear();
  }

  /** Adds a program to every image that has a shell. */
  registerProgram(name: string, program: Program): void {
    this.#programs.set(name, program);
  }

  /** The image behind a reference; every valid one has one. */
  resolve(name: string): ResolvedImage {
    const ref = normalizeImage(name);
    const known = this.#resolved.get(ref);
    if (known !== undefined) return known;
    const image =
      this.#registered.get(ref) ?? this.#registered.get(ref.replace(/@.*$/, '').replace(/:[^:/]+$/, '')) ?? {};
    const base = image.shell === false ? this.#bare : this.#base;
    const digest = /@sha256:([0-9a-f]{64})$/.exec(ref)?.[1] ?? pseudoDigest(ref);
    const resolved: ResolvedImage = {
      ref,
      id: `sha256:${pseudoDigest(`config ${ref}`)}`,
      digest: `${ref.replace(/@.*$/, '').replace(/:[^:/]+$/, '')}@sha256:${digest}`,
      image,
      root: image.files === undefined ? base : treeOf(image.files, 0, base),
    };
    if (this.#resolved.size > 10_000) this.#resolved.clear();
    this.#resolved.set(ref, resolved);
    return resolved;
  }

  /** The program that `command` starts in an image; undefined when there is none. */
  program(image: SimulatedImage, command: string): Program | undefined {
    const own = image.programs?.[command];
    if (own !== undefined) return own;
    const name =
      /^(?:\/usr\/local\/bin|\/usr\/bin|\/usr\/sbin|\/sbin|\/bin)\/([^/]+)$/.exec(command)?.[1] ??
      (command.includes('/') ? undefined : command);
    if (name === undefined) return undefined;
    return (
      image.programs?.[name] ??
      (image.shell === false ? undefined : (this.#programs.get(name) ?? builtinPrograms.get(name)))
    );
  }
}
