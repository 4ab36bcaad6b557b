/**
 * CEL's conformance suite (as JSON, from @bufbuild/cel-spec). All cases run but those that need what Kubernetes does not have:
 * protobuf messages and enums, the math and encoders libraries, and `cel.block`, which only optimizers write. Cases for evaluators without a type checker run with
 * every literal and variable taken for dyn, which is what Kubernetes' checker makes of such expressions.
 */
import assert from 'node:assert/strict';
import { Buffer } from 'node:buffer';
import { test } from 'node:test';
import { tests as conformance } from '@bufbuild/cel-spec/testdata/conformance.js';
import type { Node } from './ast.ts';
import { qualifiedName, walk } from './ast.ts';
import { check } from './checker.ts';
import type { Library, Overload } from './declarations.ts';
import { global, member } from './declarations.ts';
import { createEnv } from './env.ts';
import type { Env } from './env.ts';
import { CelError, Issues } from './errors.ts';
import { extraLibraries, kubernetesLibraries } from './libraries.ts';
import { parse } from './parser.ts';
import { Planner } from './plan.ts';
import { printValue } from './print.ts';
import { Program, compile } from './program.ts';
import { parseGoDuration, parseTimestamp } from './text.ts';
import type { CelType } from './types.ts';
import * as t from './types.ts';
import {
  CelMap,
  Uint,
  asDouble,
  doubleValue,
  equals,
  intValue,
  isMap,
  keyIndex,
  mapGet,
  mapKeys,
  mapSize,
  typeOf,
} from './values.ts';

interface Json {
  readonly [key: string]: unknown;
}
interface Case {
  readonly original: Json & { readonly name?: string; readonly expr: string };
  readonly type?: string;
}
interface Suite {
  readonly name: string;
  readonly suites?: readonly Suite[];
  readonly tests?: readonly Case[];
}

/** The value of a case, of a binding, or of a part of one; undefined for messages and enums. */
function valueOf(json: Json): unknown {
  const [key] = Object.keys(json);
  const v = json[key!] as never;
  switch (key) {
    case 'nullValue':
      return null;
    case 'boolValue':
    case 'stringValue':
      return v;
    case 'int64Value':
      return intValue(BigInt(v));
    case 'uint64Value':
      return new Uint(BigInt(v));
    case 'doubleValue':
      return doubleValue(Number(v));
    case 'bytesValue':
      return new Uint8Array(Buffer.from(v, 'base64'));
    case 'typeValue':
      return createEnv({ libraries: all }).ident(v)?.constant?.value;
    case 'listValue': {
      const list = ((v as Json)['values'] as Json[] | undefined)?.map(valueOf) ?? [];
      return list.includes(undefined) ? undefined : list;
    }
    case 'mapValue': {
      const entries = ((v as Json)['entries'] as { key: Json; value: Json }[] | undefined) ?? [];
      const values = new Map<string, unknown>() as CelMap['values'];
      const keys = new Map() as CelMap['values'];
      for (const e of entries) {
        const key = valueOf(e.key);
        const value = valueOf(e.value);
        if (key === undefined || value === undefined) return undefined;
        values.set(keyIndex(key)!, value);
        keys.set(keyIndex(key)!, key);
      }
      return new CelMap(values, keys);
    }
    case 'objectValue':
      return wellKnown(v as Json);
  }
  return undefined;
}

function wellKnown(v: Json): unknown {
  const value = v['value'] as string;
  switch (v['@type']) {
    case 'type.googleapis.com/google.protobuf.Timestamp':
      return parseTimestamp(value);
    case 'type.googleapis.com/google.protobuf.Duration':
      return parseGoDuration(value);
  }
  return undefined;
}

const primitives: Readonly<Record<string, CelType>> = {
  BOOL: t.boolType,
  INT64: t.intType,
  UINT64: t.uintType,
  DOUBLE: t.doubleType,
  STRING: t.stringType,
  BYTES: t.bytesType,
};
const wellKnownTypes: Readonly<Record<string, CelType>> = {
  TIMESTAMP: t.timestampType,
  DURATION: t.durationType,
};

/** A declared type; undefined for messages. */
function typeFrom(json: Json): CelType | undefined {
  const [kind] = Object.keys(json);
  const v = json[kind!] as never;
  switch (kind) {
    case 'primitive':
      return primitives[v];
    case 'wrapper':
      return t.nullableType(primitives[v]!);
    case 'dyn':
      return t.dynType;
    case 'null':
      return t.nullType;
    case 'wellKnown':
      return wellKnownTypes[v];
    case 'typeParam':
      return t.typeParam(v);
    case 'listType': {
      const element = typeFrom((v as Json)['elemType'] as Json);
      return element && t.listType(element);
    }
    case 'mapType': {
      const key = typeFrom((v as Json)['keyType'] as Json);
      const value = typeFrom((v as Json)['valueType'] as Json);
      return key && value && t.mapType(key, value);
    }
    case 'abstractType': {
      const params = (((v as Json)['parameterTypes'] as Json[] | undefined) ?? []).map(typeFrom);
      return params.includes(undefined)
        ? undefined
        : t.opaqueType((v as Json)['name'] as string, ...(params as CelType[]));
    }
    case 'type': {
      const inner = Object.keys(v as Json).length === 0 ? undefined : typeFrom(v as Json);
      return inner === undefined ? t.typeType : t.typeOfType(inner);
    }
    case 'messageType':
      return wellKnownMessages[v];
  }
  return undefined;
}

const wellKnownMessages: Readonly<Record<string, CelType>> = {
  'google.protobuf.Timestamp': t.timestampType,
  'google.protobuf.Duration': t.durationType,
  'google.protobuf.Any': t.anyType,
};

const all = [
  ...kubernetesLibraries.filter((l) => l.name !== 'strings' && l.name !== 'kubernetes.authz'),
  extraLibraries.strings(4),
  extraLibraries.bindings,
];

const messages =
  /TestAllTypes|NestedTestAllTypes|TestRequired|GlobalEnum|google\.protobuf\.[A-Z]\w*\{|\b(?:Timestamp|Duration|Any|Struct|Value|ListValue|\w+Value)\{|cel\.expr|proto\.(?:has|get)Ext|google\.(?:type|protobuf\.(?:Any|Struct|Value|ListValue|NullValue|\w+Value))/;

interface Prepared {
  readonly env: Env;
  readonly activation: Record<string, unknown>;
  readonly expected: unknown;
}

/** What a case needs, or why it cannot run. */
function prepare(c: Case['original']): Prepared | string {
  if (/\bcel\.(?:block|iterVar)\b/.test(c.expr)) return 'cel.block';
  if (/\b(?:math|base64)\.[a-z]/.test(c.expr)) return 'libraries that Kubernetes does not enable';
  if (messages.test(c.expr) || messages.test(JSON.stringify(c))) return 'protobuf messages and enums';
  const error = JSON.stringify(c['evalError'] ?? '');
  const beyond = /ndexOf\(/.test(c.expr) && error.includes('out of range');
  const milliseconds = /\.getMilliseconds\(\)/.test(c.expr) && JSON.stringify(c).includes('protobuf.Duration');
  if (beyond || milliseconds) return "cel-go's own answer (positions beyond the end, milliseconds of durations)";
  const variables: Record<string, CelType> = {};
  const functions: Record<string, ReturnType<typeof global>[]> = {};
  for (const decl of (c['typeEnv'] as Json[] | undefined) ?? []) {
    const name = decl['name'] as string;
    if (decl['ident'] !== undefined) {
      const type = typeFrom((decl['ident'] as Json)['type'] as Json);
      if (type === undefined) return 'protobuf messages and enums';
      variables[name] = type;
    }
    for (const o of ((decl['function'] as Json | undefined)?.['overloads'] as Json[] | undefined) ?? []) {
      const params = ((o['params'] as Json[] | undefined) ?? []).map(typeFrom) as CelType[];
      const result = typeFrom(o['resultType'] as Json)!;
      (functions[name] ??= []).push(global(o['overloadId'] as string, params, result));
    }
  }
  const activation: Record<string, unknown> = {};
  for (const [name, binding] of Object.entries((c['bindings'] as Record<string, { value: Json }> | undefined) ?? {})) {
    const value = valueOf(binding.value);
    if (value === undefined) return 'protobuf messages and enums';
    activation[name] = value;
    variables[name] ??= t.dynType;
  }
  const wanted = (c['value'] ?? (c['typedResult'] as Json | undefined)?.['result']) as Json | undefined;
  const expected = wanted === undefined ? undefined : valueOf(wanted);
  if (wanted !== undefined && expected === undefined) return 'protobuf messages and enums';
  const env = createEnv({
    variables,
    libraries: [...all, { name: 'case', functions }],
    container: c['container'] as string | undefined,
    features: { homogeneousLiterals: false, identEscape: true, validateLiterals: false, strictPresence: true },
  });
  return { env, activation, expected };
}

/** The tree with literals and variables taken for dyn: what is left of it for run time is dispatch by values. */
function untyped(node: Node, bound: ReadonlySet<string>): Node {
  const dyn = (n: Node): Node => ({ kind: 'call', fn: 'dyn', target: undefined, args: [n], at: n.at });
  const down = (n: Node): Node => untyped(n, bound);
  switch (node.kind) {
    case 'const':
      return dyn(node);
    case 'select':
      return qualifiedName(node) === undefined ? { ...node, operand: down(node.operand) } : node;
    case 'call':
      return {
        ...node,
        target: node.target === undefined || qualifiedName(node.target) !== undefined ? node.target : down(node.target),
        args: node.args.map((a, i) => (node.fn === '_?._' && i === 1 ? a : down(a))),
      };
    case 'list':
      return { ...node, elements: node.elements.map(down) };
    case 'map':
      return { ...node, entries: node.entries.map((e) => ({ ...e, key: down(e.key), value: down(e.value) })) };
    default:
      return node;
  }
}

/** Functions that are called but not there: they fail when they are called. */
function unboundFunctions(tree: Node, env: Env): Library {
  const functions: Record<string, Overload[]> = {};
  walk(tree, (node) => {
    if (node.kind !== 'call' || env.fn(node.fn) !== undefined || node.overloads !== undefined) return;
    if (node.target !== undefined && env.fn(`${qualifiedName(node.target)}.${node.fn}`) !== undefined) return;
    const args = (node.target === undefined ? node.args : [node.target, ...node.args]).map(() => t.dynType);
    const declare = node.target === undefined ? global : member;
    (functions[node.fn] ??= []).push(declare(`unbound_${node.fn}_${node.at}`, args, t.dynType));
  });
  return { name: 'unbound', functions };
}

function identifiers(node: Node, into: Set<string>): Set<string> {
  const text = JSON.stringify(node, (_k, v: unknown) => (v instanceof Set ? [...v] : typeof v === 'bigint' ? 0 : v));
  for (const m of text.matchAll(/"kind":"ident","name":"\.?([A-Za-z_][A-Za-z0-9_]*)"/g)) into.add(m[1]!);
  return into;
}

function compileUnchecked(source: string, prepared: Prepared): Program | string {
  const issues = new Issues(source);
  const { env } = prepared;
  const tree = parse(source, { macros: env.macros, optionalSyntax: true, identEscape: true }, issues);
  if (tree === undefined) return issues.toString();
  const names = [...identifiers(tree, new Set())].filter((n) => !env.knows(n));
  const wide = env.extend(Object.fromEntries(names.map((n) => [n, t.dynType])), [unboundFunctions(tree, env)]);
  const root = untyped(tree, new Set());
  check(root, wide, issues);
  if (issues.count > 0) return issues.toString();
  const planner = new Planner(wide);
  return new Program(source, planner.plan(root).eval, planner, wide);
}

/** The same value of the same type, deeply; NaN is itself. */
function same(a: unknown, b: unknown): boolean {
  const [x, y] = [asDouble(a), asDouble(b)];
  if (x !== undefined || y !== undefined) return Object.is(x, y);
  if (Array.isArray(a) && Array.isArray(b)) return a.length === b.length && a.every((v, i) => same(v, b[i]));
  if (isMap(a) && isMap(b)) {
    return (
      mapSize(a) === mapSize(b) &&
      mapKeys(a).every((k) => mapGet(b, k) !== undefined && same(mapGet(a, k), mapGet(b, k)))
    );
  }
  return typeOf(a).name === typeOf(b).name && equals(a, b);
}

/** Why a case fails; undefined when it does not. */
function run(c: Case): string | undefined {
  const { original } = c;
  const prepared = prepare(original) as Prepared;
  const wantsError = original['evalError'] !== undefined || original['anyEvalErrors'] !== undefined;
  let program: Program;
  if (original['disableCheck'] === true) {
    const unchecked = compileUnchecked(original.expr, prepared);
    if (typeof unchecked === 'string') return wantsError ? undefined : unchecked;
    program = unchecked;
  } else {
    const compiled = compile(original.expr, prepared.env);
    if (compiled.errors !== undefined) return wantsError ? undefined : compiled.errors.message;
    // The type that cel-go deduces, which stands beside the case.
    if (c.type !== undefined && c.type !== String(compiled.type)) return `deduced ${compiled.type}, wanted ${c.type}`;
    if (original['checkOnly'] === true) return undefined;
    program = compiled.program;
  }
  try {
    const { value } = program.evaluate(prepared.activation, { budget: Infinity });
    if (wantsError) return `gave ${printValue(value)} instead of an error`;
    const expected = prepared.expected === undefined ? true : prepared.expected;
    return same(value, expected) ? undefined : `gave ${printValue(value)}, wanted ${printValue(expected)}`;
  } catch (error) {
    if (!(error instanceof CelError)) throw error;
    return wantsError ? undefined : error.message;
  }
}

test('the conformance suite of CEL', () => {
  const failures: string[] = [];
  const excluded = new Map<string, number>();
  let ran = 0;
  const visit = (suite: Suite, path: string): void => {
    for (const c of suite.tests ?? []) {
      // cel-go, and Kubernetes with it, takes the last of several values for a key.
      const prepared =
        c.original.name?.startsWith('map_value_repeat_key') === true ? 'repeated keys of maps' : prepare(c.original);
      if (typeof prepared === 'string') {
        excluded.set(prepared, (excluded.get(prepared) ?? 0) + 1);
        continue;
      }
      ran++;
      const why = run(c);
      if (why !== undefined) failures.push(`${path}/${c.original.name}: ${c.original.expr}\n    ${why}`);
    }
    for (const s of suite.suites ?? []) visit(s, `${path}/${s.name}`);
  };
  visit(conformance as Suite, '');
  const left = [...excluded].map(([why, n]) => `${n} for ${why}`).join(', ');
  console.log(`${ran} conformance cases ran, ${failures.length} failed; left out: ${left}`);
  assert.deepEqual(failures, []);
});
