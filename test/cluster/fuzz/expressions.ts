/** Random expressions of CEL: mostly well typed, with every library of Kubernetes in them, and mutations that mostly are not. */

/** Whole numbers below `n`. */
export type Choose = (n: number) => number;

/** What the variables of the expressions are. */
export const variables = {
  i: 'int',
  u: 'uint',
  f: 'double',
  b: 'bool',
  s: 'string',
  y: 'bytes',
  l: 'list',
  ls: 'strings',
  m: 'map',
  d: 'duration',
  t: 'timestamp',
  o: 'dyn',
} as const;

type Type =
  | (typeof variables)[keyof typeof variables]
  | 'quantity'
  | 'ip'
  | 'cidr'
  | 'url'
  | 'semver'
  | 'optional'
  | 'format';

const literals: Readonly<Record<Type, readonly string[]>> = {
  int: ['0', '1', '-1', '7', '42', '9223372036854775807', '-9223372036854775808', '0x1F'],
  uint: ['0u', '1u', '3u', '18446744073709551615u'],
  double: ['0.0', '1.5', '-2.25', '1e3', '1e308', 'double("NaN")', 'double("inf")'],
  bool: ['true', 'false'],
  string: [
    '""',
    '"a"',
    '"héllo"',
    "'it''s'",
    '"a,b,c"',
    'r"\\d+"',
    '"1.5Gi"',
    '"2026-01-01T00:00:00Z"',
    '"10.0.0.1"',
    '"😀x"',
  ],
  bytes: ['b""', 'b"abc"', "b'\\xff'"],
  list: ['[]', '[1]', '[3, 1, 2]', '[1, 2, 2]'],
  strings: ['["a"]', '["b", "a"]', '["a", "a"]'],
  map: ['{}', '{"x": 1}', '{"a": 1, "b": 2}'],
  duration: ['duration("1h")', 'duration("90s")', 'duration("-1.5s")', 'duration("0s")'],
  timestamp: ['timestamp("2026-01-02T03:04:05Z")', 'timestamp("1970-01-01T00:00:00.5Z")', 'timestamp(0)'],
  dyn: ['null', 'dyn(1)', 'dyn("a")', 'dyn([1])', 'o.name', 'o.n', 'o.list', 'o.nested', 'o.nul', 'o.none'],
  quantity: ['quantity("1.5Gi")', 'quantity("100m")', 'quantity("0")', 'quantity(o.q)'],
  ip: ['ip("10.0.0.1")', 'ip("::1")', 'ip("2001:db8::1")'],
  cidr: ['cidr("10.0.0.0/8")', 'cidr("2001:db8::/32")', 'cidr("10.0.0.1/16")'],
  url: ['url("https://user@example.com:80/a?b=1&b=2")', 'url("/path")'],
  semver: ['semver("1.2.3")', 'semver("1.2.3-rc.1+b")', 'semver("v1.0", true)'],
  optional: ['optional.none()', 'optional.of(1)', 'optional.ofNonZeroValue(0)', '{"a": 1}[?"b"]', 'o.?name'],
  format: ['format.dns1123Label()', 'format.uuid()', 'format.named("date").value()'],
};

/** Per type, how it is made of others: `$type` stands for an expression of that type. */
const forms: Readonly<Record<Type, readonly string[]>> = {
  int: [
    '$int + $int',
    '$int - $int',
    '$int * $int',
    '$int / $int',
    '$int % $int',
    '-$int',
    'size($string)',
    '$list.size()',
    '$map.size()',
    'int($string)',
    'int($double)',
    'int($uint)',
    'int($timestamp)',
    '$bool ? $int : $int',
    '$list[$int]',
    '$map[$string]',
    '$list.sum()',
    '$list.min()',
    '$list.max()',
    '$list.indexOf($int)',
    '$list.lastIndexOf($int)',
    '$string.indexOf($string)',
    '$string.indexOf($string, $int)',
    '$string.lastIndexOf($string)',
    '$timestamp.getFullYear()',
    '$timestamp.getDayOfWeek("Europe/Berlin")',
    '$timestamp.getHours($string)',
    '$duration.getSeconds()',
    '$duration.getMilliseconds()',
    '$quantity.asInteger()',
    '$quantity.compareTo($quantity)',
    '$quantity.sign()',
    '$semver.major()',
    '$semver.compareTo($semver)',
    '$ip.family()',
    '$cidr.prefixLength()',
    'size($bytes)',
    'optional.of($int).value()',
    '$optional.orValue($int)',
    '$list.map(v, v + $int)[0]',
    'cel.bind(v, $int, v * v)',
    'math.greatest($int, $int)',
  ],
  uint: [
    '$uint + $uint',
    '$uint - $uint',
    '$uint * $uint',
    '$uint / $uint',
    '$uint % $uint',
    'uint($int)',
    'uint($string)',
  ],
  double: [
    '$double + $double',
    '$double * $double',
    '$double / $double',
    '-$double',
    'double($int)',
    'double($string)',
    '$quantity.asApproximateFloat()',
  ],
  bool: [
    '$bool && $bool',
    '$bool || $bool',
    '!$bool',
    '$int < $int',
    '$int == $int',
    '$string == $string',
    '$int >= $double',
    '$uint > $int',
    '$string < $string',
    '$bytes == $bytes',
    '$list == $list',
    '$map == $map',
    '$int in $list',
    '$string in $map',
    '$string in $strings',
    '$string.contains($string)',
    '$string.startsWith($string)',
    '$string.endsWith($string)',
    '$string.matches($string)',
    '$string.matches("^[a-z]+$")',
    '$list.all(v, v > $int)',
    '$list.exists(v, v == $int)',
    '$list.exists_one(v, v == 2)',
    '$map.all(k, k != $string)',
    'has(o.name)',
    'has(o.none)',
    'has(o.nested.a)',
    '$list.isSorted()',
    '$strings.isSorted()',
    '$duration < $duration',
    '$timestamp < $timestamp',
    'isQuantity($string)',
    '$quantity.isGreaterThan($quantity)',
    '$quantity == $quantity',
    'isIP($string)',
    'ip.isCanonical($string)',
    '$ip.isLoopback()',
    '$ip == $ip',
    '$cidr.containsIP($ip)',
    '$cidr.containsIP($string)',
    '$cidr.containsCIDR($cidr)',
    'isURL($string)',
    'isSemver($string)',
    '$semver.isLessThan($semver)',
    'sets.contains($list, $list)',
    'sets.intersects($strings, $strings)',
    'sets.equivalent($list, $list)',
    '$optional.hasValue()',
    'type($dyn) == int',
    '$dyn == $dyn',
    '$dyn == $int',
    '$dyn > $int',
    '$format.validate($string).hasValue()',
    '$strings.all(i, v, v.size() > i)',
    '$map.exists(k, v, v == $int)',
    '$list.existsOne(i, v, i == v)',
    'bool($string)',
    '$double < $int',
    '$dyn in $list',
  ],
  string: [
    '$string + $string',
    'string($int)',
    'string($double)',
    'string($bool)',
    'string($bytes)',
    'string($duration)',
    'string($timestamp)',
    'string($ip)',
    'string($cidr)',
    '$string.upperAscii()',
    '$string.lowerAscii()',
    '$string.replace($string, $string)',
    '$string.replace($string, $string, $int)',
    '$string.substring($int)',
    '$string.substring($int, $int)',
    '$string.charAt($int)',
    '$string.trim()',
    '$strings.join()',
    '$strings.join($string)',
    '$string.find($string)',
    '$string.find("[a-z]+")',
    '$url.getHost()',
    '$url.getEscapedPath()',
    '"%s %d %s".format([$string, $int, $dyn])',
    '"%f %.2e %x %b".format([$double, $double, $int, $int])',
    '"%s".format([$list])',
    '$strings[$int]',
    '$strings.max()',
    '$bool ? $string : $string',
    '$string.reverse()',
    'strings.quote($string)',
  ],
  bytes: ['bytes($string)', '$bytes + $bytes'],
  list: [
    '$list + $list',
    '$list.filter(v, v > $int)',
    '$list.map(v, v * $int)',
    '$list.map(v, v > 1, v + 1)',
    '[$int, $int]',
    '$list.transformList(i, v, i + v)',
    '$map.transformList(k, v, v)',
    '$map.map(k, $map[k])',
    '$strings.map(v, v.size())',
    '[$int, ?optional.of($int)]',
    '$list.slice($int, $int)',
    '$list.sort()',
    '$list.distinct()',
    '$list.reverse()',
    'lists.range($int)',
  ],
  strings: [
    '$strings + $strings',
    '$string.split($string)',
    '$string.split($string, $int)',
    '$string.findAll($string)',
    '$string.findAll("[a-z]", $int)',
    '[$string, $string]',
    '$strings.filter(v, v != $string)',
    '$map.map(k, k)',
  ],
  map: [
    '{$string: $int}',
    '{$string: $int, $string: $int}',
    '$map.transformMap(k, v, v + $int)',
    '$map.transformMap(k, v, v > 0, v)',
    '$strings.transformMapEntry(i, v, {v: i})',
    '{?$string: optional.of($int)}',
  ],
  duration: ['$duration + $duration', '$timestamp - $timestamp', 'duration($string)', '$duration - $duration'],
  timestamp: ['$timestamp + $duration', '$timestamp - $duration', 'timestamp($string)', 'timestamp($int)'],
  dyn: [
    'o[$string]',
    'o.list[$int]',
    'o.nested.a',
    'dyn($int)',
    'dyn($string)',
    '[$int, $string][$int]',
    '{$string: $dyn}[$string]',
    '$bool ? $dyn : $dyn',
    'type($dyn)',
    'o.list.map(x, x)',
    'dyn($list) + dyn($list)',
  ],
  quantity: ['$quantity.add($quantity)', '$quantity.sub($int)', 'quantity($string)'],
  ip: ['ip($string)', '$cidr.ip()'],
  cidr: ['cidr($string)', '$cidr.masked()'],
  url: ['url($string)'],
  semver: ['semver($string)', 'semver($string, $bool)'],
  optional: [
    'optional.of($int)',
    '$map[?$string]',
    'o.?none',
    '$optional.or($optional)',
    '$optional.optMap(v, 1)',
    '$list[?$int]',
    'o.?nested.a',
  ],
  format: ['format.named($string).value()'],
};

const names = Object.keys(variables) as (keyof typeof variables)[];
const types = Object.keys(forms) as Type[];
const tokens = [
  '(',
  ')',
  '[',
  ']',
  '{',
  '}',
  '.',
  ',',
  '?',
  ':',
  '!',
  '-',
  '+',
  '&&',
  '||',
  '"',
  "'",
  '\\',
  '0',
  '1u',
  'in',
  'has',
  'null',
  '`',
  '@',
  '\n',
  '😀',
  '\u0000',
  'x.y',
  '//',
];

/** An expression of a type, nested so deep at most. */
export function expression(choose: Choose, type: Type, depth: number): string {
  const roll = choose(100);
  if (depth <= 0 || roll < 25) {
    const own = names.filter((n) => variables[n] === type);
    const pool = [...literals[type], ...own, ...own];
    return pool[choose(pool.length)]!;
  }
  const pool = forms[type];
  const form = pool[choose(pool.length)]!;
  const text = form.replace(/\$(\w+)/g, (_, wanted: Type) => {
    // Now and then something else than is wanted.
    const other = choose(60) === 0 ? types[choose(types.length)]! : wanted;
    const inner = expression(choose, other, depth - 1);
    return /^[\w.]+$|^["'][^"']*["']$|^\w+\([^()]*\)$|^\[[^[\]]*\]$/.test(inner) ? inner : `(${inner})`;
  });
  return text;
}

/** One in three is damaged. */
export function anyExpression(choose: Choose): string {
  let text = expression(choose, types[choose(types.length)]!, 1 + choose(4));
  if (choose(3) !== 0) return text;
  for (let n = 1 + choose(3); n > 0; n--) {
    const at = choose(text.length + 1);
    const to = Math.min(text.length, at + choose(4));
    const token = tokens[choose(tokens.length)]!;
    switch (choose(3)) {
      case 0:
        text = text.slice(0, at) + text.slice(to);
        break;
      case 1:
        text = text.slice(0, at) + token + text.slice(at);
        break;
      default:
        text = text.slice(0, at) + token + text.slice(to);
    }
  }
  return text;
}
