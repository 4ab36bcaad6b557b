/**
 * The rules for names, labels, keys and the like (apimachinery util/validation and api/validate/content). Each check returns
 * upstream's messages, verbatim, or an empty array.
 */

/** `must be no more than N characters`, as the older checks word it. */
export function maxLengthError(length: number): string {
  return `must be no more than ${length} characters`;
}

/** `must be no more than N bytes`, as the newer checks (label keys and values) word it. */
export function maxBytesError(length: number): string {
  return `must be no more than ${length} bytes`;
}

export const emptyError = 'must be non-empty';
/** For values that must not be negative. */
export const isNegativeError = 'must be greater than or equal to 0';

export function inclusiveRangeError(low: number, high: number): string {
  return `must be between ${low} and ${high}, inclusive`;
}

/** A message with examples and the regular expression behind the rule. */
export function regexError(message: string, pattern: string, ...examples: string[]): string {
  if (examples.length === 0) return `${message} (regex used for validation is '${pattern}')`;
  let text = `${message} (e.g. `;
  examples.forEach((example, i) => {
    text += `${i > 0 ? ' or ' : ''}'${example}', `;
  });
  return `${text}regex used for validation is '${pattern}')`;
}

/** Length in UTF-8 bytes, which is what Go's len counts. */
export function byteLength(text: string): number {
  let bytes = text.length;
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c < 0x80) continue;
    if (c < 0x800) bytes += 1;
    else if (c >= 0xd800 && c <= 0xdbff && i + 1 < text.length) {
      // A surrogate pair is two units and four bytes.
      bytes += 2;
      i++;
    } else bytes += 2;
  }
  return bytes;
}

const labelFormat = '[a-z0-9]([-a-z0-9]*[a-z0-9])?';
const labelRegex = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/;
const labelMessage =
  "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character";
const subdomainFormat = `${labelFormat}(\\.${labelFormat})*`;
const subdomainMessage =
  "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character";

const none: readonly string[] = Object.freeze([]);
type Messages = readonly string[];

/** The subdomain grammar, label by label: linear time whatever the input. */
function matchesSubdomain(value: string): boolean {
  let start = 0;
  for (;;) {
    const dot = value.indexOf('.', start);
    const end = dot === -1 ? value.length : dot;
    if (!isLabelShape(value, start, end)) return false;
    if (dot === -1) return true;
    start = dot + 1;
  }
}

function isLowerAlphanumeric(c: number): boolean {
  return (c >= 97 && c <= 122) || (c >= 48 && c <= 57);
}

function isLabelShape(value: string, start: number, end: number): boolean {
  if (start >= end) return false;
  if (!isLowerAlphanumeric(value.charCodeAt(start)) || !isLowerAlphanumeric(value.charCodeAt(end - 1))) return false;
  for (let i = start + 1; i < end - 1; i++) {
    const c = value.charCodeAt(i);
    if (!isLowerAlphanumeric(c) && c !== 45) return false;
  }
  return true;
}

/** DNS (RFC 1123) label. */
export function isDNS1123Label(value: string): Messages {
  const tooLong = byteLength(value) > 63;
  const ok = labelRegex.test(value);
  if (ok && !tooLong) return none;
  const errors: string[] = [];
  if (tooLong) errors.push(maxLengthError(63));
  if (!ok) {
    errors.push(
      matchesSubdomain(value) ? 'must not contain dots' : regexError(labelMessage, labelFormat, 'my-name', '123-abc'),
    );
  }
  return errors;
}

/** DNS (RFC 1123) subdomain: the rule for most names. */
export function isDNS1123Subdomain(value: string): Messages {
  const tooLong = byteLength(value) > 253;
  const ok = matchesSubdomain(value);
  if (ok && !tooLong) return none;
  const errors: string[] = [];
  if (tooLong) errors.push(maxLengthError(253));
  if (!ok) errors.push(regexError(subdomainMessage, subdomainFormat, 'example.com'));
  return errors;
}

const searchPathFormat = '_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*';
const searchPath = new RegExp(`^${searchPathFormat}$`);

/** A domain to search in: a subdomain that may have underscores (KEP-4427). */
export function isSearchPath(value: string): Messages {
  const errors: string[] = [];
  if (byteLength(value) > 253) errors.push(maxLengthError(253));
  if (!searchPath.test(value))
    errors.push(
      regexError(
        "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must start and end with an alphanumeric character",
        searchPathFormat,
        'example.com',
      ),
    );
  return errors;
}

/** DNS (RFC 1035) label: must begin with a letter (Service names). */
export function isDNS1035Label(value: string): Messages {
  const errors: string[] = [];
  if (byteLength(value) > 63) errors.push(maxLengthError(63));
  if (!/^[a-z]([-a-z0-9]*[a-z0-9])?$/.test(value)) {
    errors.push(
      regexError(
        "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character",
        '[a-z]([-a-z0-9]*[a-z0-9])?',
        'my-name',
        'abc-123',
      ),
    );
  }
  return errors;
}

/** `*.` and a subdomain (Ingress hosts). */
export function isWildcardDNS1123Subdomain(value: string): Messages {
  const errors: string[] = [];
  if (byteLength(value) > 253) errors.push(maxLengthError(253));
  if (!value.startsWith('*.') || !matchesSubdomain(value.slice(2))) {
    errors.push(
      regexError(
        "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character",
        `\\*\\.${subdomainFormat}`,
        '*.example.com',
      ),
    );
  }
  return errors;
}

const keyFormat = '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]';
const keyRegex = /^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$/;
const keyMessage =
  "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";

/** A label key, annotation key, finalizer, taint key: `[prefix/]name`. */
export function isQualifiedName(value: string): Messages {
  const slash = value.indexOf('/');
  if (slash === -1 && value.length <= 63 && keyRegex.test(value)) return none;
  const errors: string[] = [];
  const parts = value.split('/');
  let name: string;
  if (parts.length === 1) name = parts[0]!;
  else if (parts.length === 2) {
    const prefix = parts[0]!;
    name = parts[1]!;
    if (prefix === '') errors.push(`prefix part ${emptyError}`);
    else {
      if (byteLength(prefix) > 253) errors.push(`prefix part ${maxBytesError(253)}`);
      if (!matchesSubdomain(prefix)) {
        errors.push(`prefix part ${regexError(subdomainMessage, subdomainFormat, 'example.com')}`);
      }
    }
  } else {
    return [
      `a valid label key ${regexError(keyMessage, keyFormat, 'MyName', 'my.name', '123-abc')} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')`,
    ];
  }
  if (name === '') errors.push(`name part ${emptyError}`);
  else if (byteLength(name) > 63) errors.push(`name part ${maxBytesError(63)}`);
  if (!keyRegex.test(name)) {
    errors.push(`name part ${regexError(keyMessage, keyFormat, 'MyName', 'my.name', '123-abc')}`);
  }
  return errors;
}

export function isLabelValue(value: string): Messages {
  if (value === '' || (value.length <= 63 && keyRegex.test(value))) return none;
  const errors: string[] = [];
  if (byteLength(value) > 63) errors.push(maxBytesError(63));
  if (!keyRegex.test(value)) {
    errors.push(
      regexError(
        "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character",
        `(${keyFormat})?`,
        'MyValue',
        'my_value',
        '12345',
      ),
    );
  }
  return errors;
}

/** A name that will be a segment of a URL path (the weakest rule for names: RBAC objects). */
export function isPathSegmentName(name: string): Messages {
  if (name === '.') return ["may not be '.'"];
  if (name === '..') return ["may not be '..'"];
  return isPathSegmentPrefix(name);
}

/** What `generateName` must hold where names are path segments. */
function isPathSegmentPrefix(name: string): Messages {
  const errors: string[] = [];
  if (name.includes('/')) errors.push("may not contain '/'");
  if (name.includes('%')) errors.push("may not contain '%'");
  return errors;
}

/** Makes a prefix that ends in a dash acceptable to a name rule, as upstream does for generateName. */
function maskTrailingDash(name: string): string {
  return name.length > 1 && name.endsWith('-') ? `${name.slice(0, -2)}a` : name;
}

/** A rule for names; with `prefix` the name is a generateName. */
export type NameRule = (name: string, prefix: boolean) => Messages;

export const nameIsDNSSubdomain: NameRule = (name, prefix) =>
  isDNS1123Subdomain(prefix ? maskTrailingDash(name) : name);
export const nameIsDNSLabel: NameRule = (name, prefix) => isDNS1123Label(prefix ? maskTrailingDash(name) : name);
export const nameIsDNS1035Label: NameRule = (name, prefix) => isDNS1035Label(prefix ? maskTrailingDash(name) : name);

/** A subdomain by the declarative rules, which count bytes and leave what a name is generated from alone. */
export const isLongName: NameRule = (name, prefix) =>
  prefix ? none : isDNS1123Subdomain(name).map((m) => m.replace(/^(must be no more than \d+) characters$/, '$1 bytes'));

export const nameIsPathSegment: NameRule = (name, prefix) =>
  prefix ? isPathSegmentPrefix(name) : isPathSegmentName(name);

export function isValidPortNum(port: number): Messages {
  return port >= 1 && port <= 65535 ? none : [inclusiveRangeError(1, 65535)];
}

/** User and group ids: 0 to 2^31 − 1. */
export function isValidUserID(id: number): Messages {
  return id >= 0 && id <= 2147483647 ? none : [inclusiveRangeError(0, 2147483647)];
}

/** An IANA service name: container and Service port names used as targets. */
export function isValidPortName(port: string): Messages {
  const errors: string[] = [];
  if (byteLength(port) > 15) errors.push(maxLengthError(15));
  if (!/^[-a-z0-9]+$/.test(port)) errors.push('must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)');
  if (!/[a-z]/.test(port)) errors.push('must contain at least one letter (a-z)');
  if (port.includes('--')) errors.push('must not contain consecutive hyphens');
  if (port.startsWith('-') || port.endsWith('-')) errors.push('must not begin or end with a hyphen');
  return errors;
}

export function isValidPercent(value: string): Messages {
  return /^[0-9]+%$/.test(value)
    ? none
    : [regexError("a valid percent string must be a numeric string followed by an ending '%'", '[0-9]+%', '1%', '93%')];
}

export function isHTTPHeaderName(value: string): Messages {
  return /^[-A-Za-z0-9]+$/.test(value)
    ? none
    : [
        regexError(
          "a valid HTTP header must consist of alphanumeric characters or '-'",
          '[-A-Za-z0-9]+',
          'X-Header-Name',
        ),
      ];
}

function changeDirectoryErrors(value: string): string[] {
  if (value === '.') return ["must not be '.'"];
  if (value === '..') return ["must not be '..'"];
  return value.startsWith('..') ? ["must not start with '..'"] : [];
}

/** The strict rule for environment variables. */
export function isEnvVarName(value: string): Messages {
  const errors: string[] = [];
  if (!/^[-._a-zA-Z][-._a-zA-Z0-9]*$/.test(value)) {
    errors.push(
      regexError(
        "a valid environment variable name must consist of alphabetic characters, digits, '_', '-', or '.', and must not start with a digit",
        '[-._a-zA-Z][-._a-zA-Z0-9]*',
        'my.env-name',
        'MY_ENV.NAME',
        'MyEnvName1',
      ),
    );
  }
  errors.push(...changeDirectoryErrors(value));
  return errors;
}

/** The relaxed rule for environment variables (KEP-4369, on by default): printable ASCII but `=`. */
export function isRelaxedEnvVarName(value: string): Messages {
  const errors: string[] = [];
  if (value === '') errors.push(`environment variable name ${emptyError}`);
  // eslint-disable-next-line no-control-regex
  if (/[^\x20-\x7e]|=/.test(value)) {
    errors.push("a valid environment variable name must consist only of printable ASCII characters other than '='");
  }
  return errors;
}

/** A key of a ConfigMap or Secret. */
export function isConfigMapKey(value: string): Messages {
  const errors: string[] = [];
  if (byteLength(value) > 253) errors.push(maxLengthError(253));
  if (!/^[-._a-zA-Z0-9]+$/.test(value)) {
    errors.push(
      regexError(
        "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
        '[-._a-zA-Z0-9]+',
        'key.name',
        'KEY_NAME',
        'key-name',
      ),
    );
  }
  errors.push(...changeDirectoryErrors(value));
  return errors;
}
