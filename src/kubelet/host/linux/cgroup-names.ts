/** Names of cgroups where systemd keeps the hierarchy: `/kubepods/burstable` is the slice `kubepods-burstable.slice`. */

/** The unit's name of a path made by `systemdPath`. */
export function systemdUnit(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1);
}

/** `/kubepods/burstable/pod1-2` → `/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1_2.slice`. */
export function systemdPath(name: string): string {
  let prefix = '';
  let out = '';
  for (const part of name.split('/')) {
    if (part === '') continue;
    // A dash separates levels, so that a name's own become underscores.
    prefix += (prefix === '' ? '' : '-') + part.replaceAll('-', '_');
    out += `/${prefix}.slice`;
  }
  return out;
}
