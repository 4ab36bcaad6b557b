/**
 * CustomResourceDefinitions in `knarr up` through TLS: a hundred installed at once until each is Established and in discovery and
 * OpenAPI, a thousand in all, and the memory of the idle whole with them (needs the bundle). A definition has a schema of 27 KB.
 */
import type { BenchOptions, BenchResult } from './run.ts';
import { benchServer, type BenchServer } from './support/server.ts';

const groups = 20;

function members(count: number, depth: number): Record<string, unknown> {
  const leaf = {
    type: 'string',
    description: 'A member that holds a text, described as such members are.',
    maxLength: 64,
  };
  return Object.fromEntries(
    Array.from({ length: count }, (_v, i) => [
      `member${i}`,
      depth === 0
        ? leaf
        : { type: 'object', description: 'An object with members', properties: members(count, depth - 1) },
    ]),
  );
}

const groupOf = (i: number): string => `bench${i % groups}.example.com`;

function definition(i: number): unknown {
  const group = groupOf(i);
  return {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: `things${i}.${group}` },
    spec: {
      group,
      scope: 'Namespaced',
      names: { plural: `things${i}`, singular: `thing${i}`, kind: `Thing${i}`, listKind: `Thing${i}List` },
      versions: [
        {
          name: 'v1',
          served: true,
          storage: true,
          subresources: { status: {} },
          schema: {
            openAPIV3Schema: {
              type: 'object',
              properties: {
                spec: { type: 'object', properties: members(6, 2) },
                status: { type: 'object', properties: members(5, 0) },
              },
            },
          },
        },
      ],
    },
  };
}

interface Installed {
  /** Milliseconds until the last was Established, and each in discovery and OpenAPI. */
  readonly established: number;
  readonly discovered: number;
  readonly described: number;
  readonly cpuSeconds: number;
}

async function until(done: () => Promise<boolean>): Promise<void> {
  while (!(await done())) await new Promise((r) => setTimeout(r, 20));
}

async function install(server: BenchServer, from: number, count: number): Promise<Installed> {
  const cpu = server.cpuSeconds();
  const began = performance.now();
  const numbers = Array.from({ length: count }, (_v, n) => from + n);
  const path = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions';
  await Promise.all(numbers.map((i) => server.json('POST', path, definition(i))));
  const established = Promise.all(
    numbers.map((i) =>
      until(async () =>
        (await server.text(`${path}/things${i}.${groupOf(i)}`)).includes('"reason":"InitialNamesAccepted"'),
      ),
    ),
  ).then(() => performance.now() - began);
  // One document for each group: who has the last of each has all.
  const inGroups = async (prefix: string, of: (i: number) => string): Promise<number> => {
    await Promise.all(
      numbers.slice(-groups).map((i) =>
        until(() =>
          server.text(`${prefix}/apis/${groupOf(i)}/v1`).then(
            (text) => numbers.every((k) => k % groups !== i % groups || text.includes(of(k))),
            (error: Error) => {
              if (error.message.includes(': 404 ')) return false;
              throw error;
            },
          ),
        ),
      ),
    );
    return performance.now() - began;
  };
  const discovered = await inGroups('', (i) => `"kind":"Thing${i}"`);
  const described = await inGroups('/openapi/v3', (i) => `"kind":"Thing${i}"`);
  return { established: await established, discovered, described, cpuSeconds: server.cpuSeconds() - cpu };
}

export async function run(options: BenchOptions): Promise<readonly BenchResult[]> {
  const server = await benchServer();
  try {
    const hundred = await install(server, 0, 100);
    const rest = await install(server, 100, 900);
    await new Promise((r) => setTimeout(r, options.idleSeconds * 1000));
    const memory = server.memory().anonymous;
    const whole = performance.now();
    await server.text('/openapi/v2');
    const v2 = performance.now() - whole;
    const rows = (name: string, installed: Installed, goal: string): BenchResult[] => [
      { name: `${name}, until all are Established`, value: installed.established, unit: 'ms' },
      { name: `${name}, until all are in discovery`, value: installed.discovered, unit: 'ms' },
      { name: `${name}, until all are in OpenAPI v3, too`, value: installed.described, unit: 'ms', goal },
      { name: `${name}: server CPU until then`, value: installed.cpuSeconds * 1000, unit: 'ms' },
    ];
    return [
      ...rows('100 CustomResourceDefinitions', hundred, '1,000 or less'),
      ...rows('900 more', rest, ''),
      { name: 'OpenAPI v2 with 1,000, the first time', value: v2, unit: 'ms' },
      {
        name: `anonymous memory with 1,000, installed by then, after ${options.idleSeconds} s idle`,
        value: memory,
        unit: 'MiB',
        goal: '400 or less',
      },
    ];
  } finally {
    await server.dispose();
  }
}
