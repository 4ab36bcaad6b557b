/** The groups that discovery shows: those of this server, and among them by priority those of aggregated ones. */
import type { ResourceInfo } from '../../api/catalog/resource.ts';
import { builtInPriority, compareVersionPriority, customPriority, groupPriority } from '../aggregation/priorities.ts';
import type { RemoteVersion } from '../aggregation/remote-documents.ts';
import type { ServedGroup } from '../resource-directory.ts';

/** What aggregated servers serve; the generation grows with every change. */
export interface RemoteVersions {
  readonly generation: number;
  versions(): readonly RemoteVersion[];
}

export type DiscoveredVersion =
  | { readonly version: string; readonly resources: readonly ResourceInfo[] }
  /** Of an aggregated server: apidiscovery APIVersionDiscovery. */
  | { readonly version: string; readonly resources?: undefined; readonly discovery: Record<string, unknown> };

export interface DiscoveredGroup {
  readonly group: string;
  readonly preferredVersion: string;
  readonly versions: readonly DiscoveredVersion[];
}

/** In the order of discovery. Without aggregated servers these are the groups as they were given. */
export function discoveredGroups(
  served: readonly ServedGroup[],
  remote: readonly RemoteVersion[],
): readonly DiscoveredGroup[] {
  if (remote.length === 0) return served;
  const groups = new Map<string, { priority: number; group: DiscoveredGroup }>();
  for (const g of served) groups.set(g.group, { priority: groupPriority(g.group, g.custom, g.computed), group: g });
  for (const name of new Set(remote.map((r) => r.group))) {
    const own = served.find((g) => g.group === name);
    const theirs = remote.filter((r) => r.group === name);
    const versions = [
      ...(own?.versions ?? [])
        .filter((v) => !theirs.some((r) => r.version === v.version))
        .map((v) => ({
          priority: (own!.custom ? customPriority : builtInPriority(name, v.version))?.version ?? 0,
          version: v.version,
          shown: { version: v.version, resources: v.resources } as DiscoveredVersion,
        })),
      ...theirs.map((r) => ({
        priority: r.versionPriority,
        version: r.version,
        shown: { version: r.version, discovery: r.discovery } as DiscoveredVersion,
      })),
    ].sort(compareVersionPriority);
    const priority = Math.max(groups.get(name)?.priority ?? 0, ...theirs.map((r) => r.groupPriority));
    groups.set(name, {
      priority,
      group: { group: name, preferredVersion: versions[0]!.version, versions: versions.map((v) => v.shown) },
    });
  }
  return [...groups.values()]
    .sort((a, b) => {
      // The core group stands for itself, whatever its number.
      if ((a.group.group === '') !== (b.group.group === '')) return a.group.group === '' ? -1 : 1;
      if (a.priority !== b.priority) return b.priority - a.priority;
      return a.group.group < b.group.group ? -1 : 1;
    })
    .map((g) => g.group);
}
