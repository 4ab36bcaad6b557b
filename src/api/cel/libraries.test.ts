/** Kubernetes' own functions of CEL, and the limits and messages that Kubernetes adds to the language. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createEnv } from './env.ts';
import { CelError } from './errors.ts';
import { estimateCost } from './estimate.ts';
import { extraLibraries, kubernetesLibraries } from './libraries.ts';
import type { AuthorizationCheck, AuthorizationDecision, Authorize } from './library/authz.ts';
import { AuthorizerValue, authorizerType, requestResourceCheck, resourceCheckType } from './library/authz.ts';
import { mutationTypes, typeNameMismatches } from './mutation.ts';
import { compile } from './program.ts';
import { toJSON } from './to-json.ts';
import { dynType, intType, listType, stringType } from './types.ts';
import type { CelType } from './types.ts';
import { StructValue } from './values.ts';

function run(source: string, variables: Record<string, unknown> = {}, types: Record<string, CelType> = {}): unknown {
  const declared = Object.fromEntries(Object.keys(variables).map((name) => [name, types[name] ?? dynType]));
  const compiled = compile(source, createEnv({ variables: declared }));
  if (compiled.errors !== undefined) return compiled.errors.message;
  try {
    return toJSON(compiled.program.evaluate(variables).value);
  } catch (error) {
    assert.ok(error instanceof CelError, String(error));
    return `${error.kind}: ${error.message}`;
  }
}

test("functions of Kubernetes' libraries", () => {
  const parsed = 'parse error during conversion from string';
  const cases: Record<string, unknown> = {
    'quantity("2Gi").asInteger() == 2147483648 && !quantity("1.5Gi").isInteger() && !quantity("1000m").isInteger()': true,
    // Held as a decimal of any length.
    'quantity("1.5Gi").asInteger()': 'runtime: cannot convert value to integer',
    'quantity("100m").add(quantity("1.5Gi")).asApproximateFloat()': 1610612736.1000001,
    '"%.3e|%e|%.1f".format([1.5, 1.0 / 0.0, -0.0])': '1.500000×10⁰⁰|     ∞|0.0',
    '"abc".substring(9223372036854775807)': 'runtime: index out of range: 9223372036854775807',
    '{"a": 1, "a": 2}': { a: 2 },
    'cidr("10.0.0.0/8").containsIP("x")': 'runtime: no such overload',
    '[1].filter(v, .v > 0)': [1],
    'semver(".1.2")': 'runtime: strconv.ParseUint: parsing "": invalid syntax',
    'quantity("50k").add(20).sub(quantity("100k")).sub(-50000).asInteger()': 20,
    'quantity("0.2G") == quantity("200M") && quantity("50Mi").compareTo(quantity("50M")) == 1': true,
    'isQuantity("1x") || quantity("50.703k").asApproximateFloat() != 50703.0': false,
    'quantity("9999999999999999999999").asInteger()': 'runtime: cannot convert value to integer',
    'quantity("10Mo")':
      "runtime: quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
    'ip("192.168.0.1").family() == 4 && ip("::1").isLoopback() && !ip.isCanonical("2001:DB8::68")': true,
    'ip("192.168.0.1.0")': `runtime: IP Address "192.168.0.1.0" ${parsed}: ParseAddr("192.168.0.1.0"): IPv4 address too long`,
    'cidr("10.0.0.0/8").containsIP("10.1.2.3") && cidr("10.0.0.0/8").containsCIDR(cidr("10.1.0.0/16"))': true,
    'cidr("10.0.0.1/8").masked() == cidr("10.0.0.0/8") && cidr("::/0").prefixLength() == 0': true,
    'string(cidr("192.168.1.7/24").ip())': '192.168.1.7',
    'url("https://user:pw@[::1]:8443/a%20b?x=1&x=2").getHost()': '[::1]:8443',
    'url("https://a.b/c?x=1&x=2").getQuery()': { x: ['1', '2'] },
    'isURL("../relative")': false,
    'semver("1.2.3-rc.1").isLessThan(semver("1.2.3")) && semver("v1.0", true) == semver("1.0.0")': true,
    'semver("01.0.0")': 'runtime: Major number must not contain leading zeroes "01"',
    'format.dns1123Label().validate("Abc").value()': [
      "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
    ],
    'format.named("uuid").hasValue() && !format.named("nothing").hasValue()': true,
    '"a1b22".findAll("[0-9]+") == ["1", "22"] && "a1b22".find("[0-9]+") == "1"': true,
    '[3, 1, 2].max() - [3, 1, 2].min() == 2 && [1, 2, 2].isSorted() && [1, 2, 2].lastIndexOf(2) == 2': true,
    '[1, 2].sum() == 3 && [duration("1m"), duration("1s")].sum() == duration("61s")': true,
    'sets.contains([1, 2, 3], [2, 3]) && sets.intersects([1], [1, 2]) && sets.equivalent([1, 1], [1])': true,
    '"%s has %d of %.2f (%x, %b, %e)".format(["it", 3, 1.5, 255, 5, 1234.5])':
      'it has 3 of 1.50 (ff, 101, 1.234500×10⁰³)',
    '"a,b,c".split(",", 2).join("|").replace("b", "B").upperAscii().charAt(2)': 'B',
    '{"a": 1, "b": 2}.transformList(k, v, k + string(v))': ['a1', 'b2'],
    '[1, 2, 3].exists(i, v, i == 2 && v == 3) && {"a": 1}.transformMap(k, v, v + 1) == {"a": 2}': true,
    '{"a": {"b": 1}}.?a.?c.orValue(5) + [10][?0].value()': 15,
    '[1, ?optional.none(), 3].size() + {?"a": optional.of(1)}.size()': 3,
    'optional.ofNonZeroValue("").or(optional.of("x")).optMap(v, v + "y").value()': 'xy',
    'optional.none().value()': 'runtime: optional.none() dereference',
    // Integers are of 64 bits, whatever JavaScript's numbers can hold.
    '9007199254740993 + 1 == 9007199254740994 && 9223372036854775807 > 9223372036854775806': true,
    '9223372036854775807 + 1': 'runtime: integer overflow',
    '0u - 1u': 'runtime: unsigned integer overflow',
    '1 / 0': 'runtime: division by zero',
    '[1][3]': 'runtime: index out of bounds: 3',
    '{"a": 1}.b': 'runtime: no such key: b',
    'timestamp("2024-02-29T12:00:00Z") + duration("24h") == timestamp("2024-03-01T12:00:00Z")': true,
    'timestamp("2024-01-01T00:00:00Z").getDayOfWeek("America/New_York")': 0,
  };
  for (const [source, want] of Object.entries(cases)) assert.deepEqual(run(source), want, source);
});

test('what does not compile is told with its line and a caret, as Kubernetes prints it', () => {
  assert.equal(
    run('"a" ==\n x.y || "é" == 1'),
    [
      "ERROR: <input>:2:2: undeclared reference to 'x' (in container '')",
      ' |  x.y || "é" == 1',
      ' | .^',
      "ERROR: <input>:2:13: found no matching overload for '_==_' applied to '(string, int)'",
      ' |  x.y || "é" == 1',
      ' | .........．..^',
    ].join('\n'),
  );
  assert.equal(
    run('[1, "a"]'),
    ["ERROR: <input>:1:5: expected type 'int' but found 'string'", ' | [1, "a"]', ' | ....^'].join('\n'),
  );
  assert.equal(
    run('size(1) == "a"'),
    [
      "ERROR: <input>:1:5: found no matching overload for 'size' applied to '(int)'",
      ' | size(1) == "a"',
      ' | ....^',
    ].join('\n'),
  );
  assert.match(String(run('a. == 1')), /^ERROR: <input>:1:4: Syntax error: /);
  // No deeper than 250 and no longer than 100,000 code points.
  const nested = (depth: number): string => '['.repeat(depth) + ']'.repeat(depth);
  assert.match(String(run(nested(260))), /expression recursion limit exceeded: 250/);
  assert.match(String(run('true' + ' == true'.repeat(251))), /max recursion depth exceeded/);
  assert.equal(run('true' + ' == true'.repeat(250)), true);
  assert.match(
    String(run('"' + 'a'.repeat(100_001) + '"')),
    /expression code point size exceeds limit: size: 100003, limit 100000/,
  );
  // Constants are checked when the expression is compiled.
  assert.match(String(run('duration("1x")')), /ERROR: <input>:1:10: invalid duration argument/);
  assert.match(String(run('"a".matches("(")')), /ERROR: <input>:1:13: invalid matches argument/);
});

test('costs: what an evaluation came to, what it may come to, and the limit', () => {
  const env = createEnv({ variables: { s: stringType, list: listType(intType, { maxElements: 100 }) } });
  const compiled = compile('list.all(x, x < 5) && s.contains("abc")', env);
  assert.ok(compiled.errors === undefined);
  const { cost } = compiled.program.evaluate({ list: [1, 2, 3], s: 'x'.repeat(20) });
  assert.equal(cost, 20);
  assert.deepEqual(estimateCost(compiled.tree, dynType).min, 2);
  const endless = compile('list.all(x, list.all(y, list.all(z, x + y + z >= 0)))', env);
  assert.ok(endless.errors === undefined);
  const numbers = Array.from({ length: 200 }, (_, i) => i);
  assert.throws(
    () => endless.program.evaluate({ list: numbers }),
    (e) => e instanceof CelError && e.kind === 'cost' && /actual cost limit exceeded/.test(e.message),
  );
  assert.equal(endless.program.evaluate({ list: numbers }, { budget: 1e9 }).value, true);
});

test('an authorizer is asked, at once or in its own time', async () => {
  const asked: AuthorizationCheck[] = [];
  const answer = (check: AuthorizationCheck): AuthorizationDecision => {
    asked.push(check);
    if (check.verb === 'fail') return { allowed: false, reason: '', error: 'broken' };
    return { allowed: check.verb === 'get', reason: `because ${check.verb}` };
  };
  const user = { name: 'jane', groups: ['devs'] };
  const variables = { authorizer: authorizerType, rr: resourceCheckType };
  const evaluate = (source: string, authorize: Authorize): Promise<{ value: unknown }> => {
    const compiled = compile(source, createEnv({ variables }));
    assert.ok(compiled.errors === undefined, compiled.errors?.message);
    const authorizer = new AuthorizerValue(user, authorize);
    const rr = requestResourceCheck(authorizer, {
      group: 'apps',
      resource: 'deployments',
      subresource: '',
      namespace: 'default',
      name: 'web',
    });
    return compiled.program.evaluateAsync({ authorizer, rr });
  };
  const source =
    'authorizer.group("").resource("pods").namespace("a").fieldSelector("spec.nodeName=n1").check("get").allowed() && rr.check("delete").reason() == "because delete"';
  assert.equal((await evaluate(source, answer)).value, true);
  assert.deepEqual(
    asked.map((c) => [c.verb, c.user.name, c.resource, c.namespace, c.fieldRequirements?.length]),
    [
      ['get', 'jane', 'pods', 'a', 1],
      ['delete', 'jane', 'deployments', 'default', undefined],
    ],
  );
  const failing = 'authorizer.path("/healthz").check("fail")';
  assert.equal((await evaluate(`${failing}.errored() && ${failing}.error() == "broken"`, answer)).value, true);
  // Three checks cost more than an expression may.
  await assert.rejects(evaluate(`${source} && ${failing}.errored()`, answer), { kind: 'cost' });
  const later: Authorize = (check) => Promise.resolve(answer(check));
  assert.equal((await evaluate(source, later)).value, true);
  assert.equal(
    (await evaluate('authorizer.serviceAccount("ns", "sa").group("").resource("pods").check("list").allowed()', later))
      .value,
    false,
  );
  assert.equal(asked.at(-1)!.user.name, 'system:serviceaccount:ns:sa');
});

test('objects and patches that expressions make become JSON', () => {
  const env = createEnv({
    variables: { object: dynType },
    types: mutationTypes,
    libraries: [...kubernetesLibraries, extraLibraries.jsonPatch],
  });
  const value = (source: string): unknown => {
    const compiled = compile(source, env);
    assert.ok(compiled.errors === undefined, compiled.errors?.message);
    return compiled.program.evaluate({ object: { spec: { replicas: 1 } } }).value;
  };
  const made = value('Object{spec: Object.spec{replicas: object.spec.replicas + 1, wait: duration("90s"), b: b"hi"}}');
  assert.deepEqual(toJSON(made), { spec: { replicas: 2, wait: '90s', b: 'aGk=' } });
  assert.deepEqual(
    toJSON(value('[JSONPatch{op: "add", path: "/metadata/labels/" + jsonpatch.escapeKey("a/b~"), value: 2.0}]')),
    [{ op: 'add', path: '/metadata/labels/a~1b~0', value: 2 }],
  );
  const wrong = value('Object{spec: Object.wrong{}}');
  assert.ok(wrong instanceof StructValue);
  assert.deepEqual(typeNameMismatches(wrong), [
    'unexpected type name "Object.wrong", expected "Object.spec", which matches field name path from root Object type',
  ]);
});
