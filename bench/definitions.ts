/**
 * CustomResourceDefinitions in `knarr up` through TLS: a hundred installed at once until each can be listed, a thousand in all, and
 * the memory of the idle whole with them (needs the bundle). A definition has a schema of 27 KB.
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

/** Milliseconds until the last of them can be listed. */
async function install(server: BenchServer, from: number, count: number): Promise<number> {
  const began = performance.now();
  await Promise.all(
    Array.from({ length: count }, async (_v, n) => {
      const i = from + n;
      await server.json('POST', '/apis/apiextensions.k8s.io/v1/customresourcedefinitions', definition(i));
      const path = `/apis/${groupOf(i)}/v1/namespaces/default/things${i}`;
      for (let served = false; !served;)
        served = await server.text(path).then(
          () => true,
          (error: Error) => {
            if (!error.message.includes(': 404 ')) throw error;
            return new Promise<boolean>((r) => setTimeout(() => r(false), 20));
          },
        );
    }),
  );
  return performance.now() - began;
}

export async function run(options: BenchOptions): Promise<readonly BenchResult[]> {
  const server = await benchServer();
  try {
    const hundred = await install(server, 0, 100);
    const rest = await install(server, 100, 900);
    await new Promise((r) => setTimeout(r, options.idleSeconds * 1000));
    return [
      {
        name: '100 CustomResourceDefinitions, until all can be listed',
        value: hundred,
        unit: 'ms',
        goal: '1,000 or less',
      },
      { name: '900 more', value: rest, unit: 'ms' },
      {
        name: `anonymous memory with 1,000, installed by then, after ${options.idleSeconds} s idle`,
        value: server.memory().anonymous,
        unit: 'MiB',
        goal: '400 or less',
      },
    ];
  } finally {
    await server.dispose();
  }
}
