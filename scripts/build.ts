/**
 * `npm run build`: bundles the command and the library into `dist/` with lazy chunks and source maps, and writes the type
 * declarations. `lmdb` stays outside (it brings prebuilt files). `--quick` leaves the declarations out; KNARR_DIST names
 * another folder inside the repository.
 */
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import * as http from 'node:http';
import { join, resolve } from 'node:path';
import { build } from 'esbuild';
import type { Plugin } from 'esbuild';

const root = join(import.meta.dirname, '..');
const target = resolve(root, process.env['KNARR_DIST'] ?? 'dist');
// Built beside it and put in place whole: what runs from there never sees half of it, and a failed build changes nothing.
const dist = `${target}.${process.pid}`;
process.on('exit', () => rmSync(dist, { recursive: true, force: true }));

/** The command's first file, which any Node can read: refuses old ones, and switches V8's compile cache on before all else. */
const launcher = `#!/usr/bin/env node
import module from 'node:module';
import { join } from 'node:path';
import { homedir } from 'node:os';
if (Number.parseInt(process.versions.node, 10) < 24) {
  process.stderr.write('knarr: Node.js 24 or newer is needed, this is ' + process.version + '\\n');
  process.exit(1);
}
const cache = process.env.XDG_CACHE_HOME || (process.platform === 'darwin' ? join(homedir(), 'Library', 'Caches') : process.platform === 'win32' ? process.env.LOCALAPPDATA || homedir() : join(homedir(), '.cache'));
module.enableCompileCache(join(cache, 'knarr', 'compile'));
await import('./main.js');
`;

/**
 * An `import` of a built-in module reads all its exports, and those of `node:http` that are made on first use (`WebSocket` and
 * its events) load a whole HTTP client for nobody: 27 ms of the start. The bundle takes the module as `require` would.
 */
const withoutLazyExports: Plugin = {
  name: 'without-lazy-exports',
  setup(b) {
    const lazy = new Set(['default', 'WebSocket', 'CloseEvent', 'MessageEvent']);
    const names = Object.keys(http).filter((name) => !lazy.has(name));
    b.onResolve({ filter: /^node:http$/ }, ({ kind, path }) =>
      kind === 'require-call' ? undefined : { path, namespace: 'built-in' },
    );
    b.onLoad({ filter: /.*/, namespace: 'built-in' }, ({ path }) => ({
      contents: `const m = process.getBuiltinModule('${path}');
export default m;
export const { ${names.join(', ')} } = m;`,
    }));
  },
};

mkdirSync(dist, { recursive: true });
await build({
  absWorkingDir: root,
  entryPoints: { main: 'src/cli/main.ts', index: 'src/index.ts', 'dns-worker': 'src/cluster/dns-worker.ts' },
  outdir: dist,
  bundle: true,
  splitting: true,
  format: 'esm',
  platform: 'node',
  mainFields: ['module', 'main'],
  target: 'node24',
  // Names stay as they are: keeping them beside shortened ones costs a call for every closure made.
  minifySyntax: true,
  minifyWhitespace: true,
  sourcemap: true,
  sourcesContent: false,
  external: ['lmdb'],
  plugins: [withoutLazyExports],
  loader: { '.json': 'json' },
  banner: {
    js: "import { createRequire as __createRequire } from 'node:module'; const require = __createRequire(import.meta.url);",
  },
  logLevel: 'warning',
});
writeFileSync(join(dist, 'knarr.js'), launcher, { mode: 0o755 });
// Data that is read from beside the code, not bundled.
cpSync(join(root, 'src/api/catalog/catalog.json'), join(dist, 'catalog.json'));
run(process.execPath, [join(root, 'scripts/descriptions.ts'), join(dist, 'descriptions.json')]);
if (!process.argv.includes('--quick')) {
  run(join(root, 'node_modules/.bin/tsc'), [
    '-p',
    root,
    '--noEmit',
    'false',
    '--declaration',
    '--emitDeclarationOnly',
    '--outDir',
    join(dist, 'types-all'),
  ]);
  cpSync(join(dist, 'types-all', 'src'), join(dist, 'types'), { recursive: true });
  // Who uses the package need not be able to import JSON: the names of the gates stand in the declarations themselves.
  const gates = join(dist, 'types/api/features/feature-gates.d.ts');
  const names = Object.keys(
    JSON.parse(readFileSync(join(root, 'src/api/features/feature-gates.json'), 'utf8')) as object,
  );
  writeFileSync(
    gates,
    readFileSync(gates, 'utf8').replace(
      /^import gatesJson from .*$/m,
      `declare const gatesJson: Readonly<Record<${names.map((n) => JSON.stringify(n)).join(' | ')}, unknown>>;`,
    ),
  );
  rmSync(join(dist, 'types-all'), { recursive: true, force: true });
}

rmSync(target, { recursive: true, force: true });
renameSync(dist, target);

function run(command: string, args: readonly string[]): void {
  const r = spawnSync(command, args, { cwd: root, stdio: 'inherit' });
  if (r.status !== 0) {
    console.error(`build: ${command} ended with ${r.status ?? r.signal}`);
    process.exit(1);
  }
}
