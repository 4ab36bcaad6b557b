/** `knarr kube-apiserver`, `knarr etcd`, …: one component alone, with upstream's flag names. */
import type { CommandSpec } from './flags.ts';

export const componentCommands: readonly CommandSpec[] = [];
