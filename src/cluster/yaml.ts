/** YAML for files of ours (kubeconfigs); the library is loaded when the first one is read. API bodies have a codec of their own. */

export async function loadYaml(text: string): Promise<unknown> {
  const yaml = await import('js-yaml');
  return yaml.load(text);
}

export async function dumpYaml(value: unknown): Promise<string> {
  const yaml = await import('js-yaml');
  return yaml.dump(value, { lineWidth: -1, noRefs: true });
}
