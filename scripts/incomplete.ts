/**
 * Writes docs/incomplete.md from the code: the kinds whose behaviour or validation is not there yet, and the Warning that each
 * write to them answers with. `--check` fails when the page is not what it would write.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createCluster } from '../src/index.ts';
import { loadCatalog } from '../src/api/catalog/catalog.ts';

const page = join(import.meta.dirname, '../docs/incomplete.md');
const catalog = loadCatalog();
await using cluster = await createCluster({
  nodes: 0,
  disable: ['kube-scheduler', 'kube-controller-manager', 'cloud-controller-manager', 'kube-proxy', 'dns', 'kubelet'],
});
const rows: string[] = [];
for (const r of catalog.resources) {
  // Reviews and alike are answered, not stored.
  if (!catalog.isEnabled(r.group, r.version) || !r.verbs.includes('update')) continue;
  const warning = cluster.apiServer.incomplete(r.group, r.resource);
  if (warning !== undefined)
    rows.push(`| ${r.group === '' ? 'core' : r.group}/${r.version} | ${r.kind} | ${warning} |`);
}
const text = `# Kinds that are not complete yet

Made from the code by \`node scripts/incomplete.ts\`. Each write to one of these kinds answers with the \`Warning\` beside it; everything
else about them (storage, defaults, structure, field validation, patches, apply, watch) is as for any other kind.

| API | kind | warning |
|---|---|---|
${rows.join('\n')}
`;
if (process.argv.includes('--check')) {
  if (readFileSync(page, 'utf8') !== text) {
    console.error('docs/incomplete.md is not what the code says: run node scripts/incomplete.ts');
    process.exitCode = 1;
  }
} else writeFileSync(page, text);
