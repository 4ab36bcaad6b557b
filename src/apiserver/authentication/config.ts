/**
 * AuthenticationConfiguration (`--authentication-config`, apiserver.config.k8s.io v1, v1beta1, v1alpha1): which issuers of tokens
 * are trusted, how their claims become users, and who may be anonymous. Decoding, and upstream's validation.
 */
import { X509Certificate } from 'node:crypto';
import { duplicate, formatFieldError, forbiddenField, invalid, required, tooMany } from '../../api/field-error.ts';
import type { FieldError } from '../../api/field-error.ts';
import { isDNS1123Subdomain, regexError } from '../../api/names.ts';
import { decodeConfig } from '../config-decode.ts';
import type { ConfigKind } from '../config-decode.ts';
import { compileClaims, compileUser, usesClaim } from './oidc/expressions.ts';
import type { CompiledExpression } from './oidc/expressions.ts';

export interface Issuer {
  readonly url: string;
  readonly discoveryURL?: string;
  /** PEM. */
  readonly certificateAuthority?: string;
  readonly audiences: readonly string[];
  readonly audienceMatchPolicy?: string;
  readonly egressSelectorType?: string;
}

export interface ClaimOrExpression {
  readonly claim?: string;
  readonly prefix?: string;
  readonly expression?: string;
}

export interface JwtAuthenticatorConfiguration {
  readonly issuer: Issuer;
  readonly claimValidationRules?: readonly {
    readonly claim?: string;
    readonly requiredValue?: string;
    readonly expression?: string;
    readonly message?: string;
  }[];
  readonly claimMappings: {
    readonly username: ClaimOrExpression;
    readonly groups?: ClaimOrExpression;
    readonly uid?: Omit<ClaimOrExpression, 'prefix'>;
    readonly extra?: readonly { readonly key?: string; readonly valueExpression?: string }[];
  };
  readonly userValidationRules?: readonly { readonly expression?: string; readonly message?: string }[];
}

export interface AnonymousConfiguration {
  readonly enabled: boolean;
  /** Paths, of which one must be asked for; none: all. */
  readonly conditions?: readonly { readonly path: string }[];
}

export interface AuthenticationConfiguration {
  readonly jwt: readonly JwtAuthenticatorConfiguration[];
  readonly anonymous?: AnonymousConfiguration;
}

const prefixed = { fields: { claim: 'string', prefix: 'string', expression: 'string' } } as const;

const kind: ConfigKind = {
  kind: 'AuthenticationConfiguration',
  versions: ['v1', 'v1beta1', 'v1alpha1'],
  fields: {
    jwt: {
      list: {
        fields: {
          issuer: {
            fields: {
              url: 'string',
              discoveryURL: 'string',
              certificateAuthority: 'string',
              audiences: { list: 'string' },
              audienceMatchPolicy: 'string',
              egressSelectorType: 'string',
            },
          },
          claimValidationRules: {
            list: { fields: { claim: 'string', requiredValue: 'string', expression: 'string', message: 'string' } },
          },
          claimMappings: {
            fields: {
              username: prefixed,
              groups: prefixed,
              uid: { fields: { claim: 'string', expression: 'string' } },
              extra: { list: { fields: { key: 'string', valueExpression: 'string' } } },
            },
          },
          userValidationRules: { list: { fields: { expression: 'string', message: 'string' } } },
        },
      },
    },
    anonymous: { fields: { enabled: 'bool', conditions: { list: { fields: { path: 'string' } } } } },
  },
};

/** The expressions of one authenticator, compiled. */
export interface CompiledMappings {
  readonly username?: CompiledExpression;
  readonly groups?: CompiledExpression;
  readonly uid?: CompiledExpression;
  readonly extra: readonly { readonly key: string; readonly expression: CompiledExpression }[];
  readonly claimRules: readonly { readonly message: string; readonly expression: CompiledExpression }[];
  readonly userRules: readonly { readonly message: string; readonly expression: CompiledExpression }[];
}

/** Goes through one authenticator: what is wrong with it, and its compiled expressions. */
class Examination {
  readonly errors: FieldError[] = [];
  username: CompiledExpression | undefined;
  groups: CompiledExpression | undefined;
  uid: CompiledExpression | undefined;
  readonly extra: { key: string; expression: CompiledExpression }[] = [];
  readonly claimRules: { message: string; expression: CompiledExpression }[] = [];
  readonly userRules: { message: string; expression: CompiledExpression }[] = [];

  compile(
    source: string,
    path: string,
    how: (source: string) => ReturnType<typeof compileClaims>,
  ): CompiledExpression | undefined {
    const { expression, error } = how(source);
    if (error === undefined) return expression;
    this.errors.push(
      error.kind === 'invalid'
        ? invalid(path, source, error.detail)
        : { type: 'InternalError', field: path, detail: error.detail },
    );
    return undefined;
  }
}

function urlErrors(text: string, disallowed: readonly string[], path: string): FieldError[] {
  const errors: FieldError[] = [];
  if (disallowed.includes(text))
    errors.push(
      invalid(path, text, `URL must not overlap with disallowed issuers: [${disallowed.toSorted().join(' ')}]`),
    );
  // Taken apart by hand: the platform's parser refuses and mends what Go's takes as it is.
  if (/[\u0000-\u0020\u007f]/.test(text)) {
    errors.push(invalid(path, text, `parse ${JSON.stringify(text)}: net/url: invalid control character in URL`));
    return errors;
  }
  if (text.startsWith(':')) {
    errors.push(invalid(path, text, `parse ${JSON.stringify(text)}: missing protocol scheme`));
    return errors;
  }
  const m = /^(?:([A-Za-z][A-Za-z0-9+.-]*):)?(?:\/\/([^/?#]*))?([^?#]*)(?:\?([^#]*))?(?:#(.*))?$/.exec(text);
  const bad = /%(?![0-9A-Fa-f]{2})/.exec(text);
  if (m === null || bad !== null) {
    const escape = bad === null ? '' : `: invalid URL escape ${JSON.stringify(text.slice(bad.index, bad.index + 3))}`;
    errors.push(invalid(path, text, `parse ${JSON.stringify(text)}${escape}`));
    return errors;
  }
  const [, scheme = '', authority = '', , query = '', fragment = ''] = m;
  if (scheme.toLowerCase() !== 'https') errors.push(invalid(path, text, 'URL scheme must be https'));
  if (authority.includes('@')) errors.push(invalid(path, text, 'URL must not contain a username or password'));
  if (query !== '') errors.push(invalid(path, text, 'URL must not contain a query'));
  if (fragment !== '') errors.push(invalid(path, text, 'URL must not contain a fragment'));
  return errors;
}

function certificateError(pem: string): string | undefined {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g) ?? [];
  if (blocks.length === 0) return 'data does not contain any valid RSA or ECDSA certificates';
  for (const block of blocks)
    try {
      void new X509Certificate(block);
    } catch {
      return 'x509: malformed certificate';
    }
  return undefined;
}

function audienceErrors(issuer: Issuer, path: string): FieldError[] {
  const { audiences, audienceMatchPolicy: policy = '' } = issuer;
  const at = `${path}.audiences`;
  if (audiences.length === 0) return [required(at, `at least one ${at} is required`)];
  const errors: FieldError[] = [];
  audiences.forEach((audience, i) => {
    if (audience === '') errors.push(required(`${at}[${i}]`));
    if (audiences.indexOf(audience) < i) errors.push(duplicate(`${at}[${i}]`, audience));
  });
  const policyPath = `${path}.audienceMatchPolicy`;
  if (audiences.length > 1 && policy !== 'MatchAny')
    errors.push(invalid(policyPath, policy, 'audienceMatchPolicy must be MatchAny for multiple audiences'));
  if (audiences.length === 1 && policy !== '' && policy !== 'MatchAny')
    errors.push(invalid(policyPath, policy, 'audienceMatchPolicy must be empty or MatchAny for single audience'));
  return errors;
}

function issuerErrors(issuer: Issuer, disallowed: readonly string[], path: string): FieldError[] {
  const { url, discoveryURL = '', certificateAuthority = '', egressSelectorType: egress = '' } = issuer;
  const errors = url === '' ? [required(`${path}.url`)] : urlErrors(url, disallowed, `${path}.url`);
  if (discoveryURL !== '') {
    const trim = (text: string): string => text.replace(/\/+$/, '');
    const at = `${path}.discoveryURL`;
    if (url !== '' && trim(url) === trim(discoveryURL))
      errors.push(invalid(at, discoveryURL, 'discoveryURL must be different from URL'));
    errors.push(...urlErrors(discoveryURL, [], at));
  }
  errors.push(...audienceErrors(issuer, path));
  const why = certificateAuthority === '' ? undefined : certificateError(certificateAuthority);
  if (why !== undefined) errors.push(invalid(`${path}.certificateAuthority`, '<omitted>', why));
  if (egress !== '' && egress !== 'controlplane' && egress !== 'cluster')
    errors.push(
      invalid(`${path}.egressSelectorType`, egress, 'egress selector must be either controlplane or cluster'),
    );
  return errors;
}

function examineClaimRules(x: Examination, c: JwtAuthenticatorConfiguration, path: string): void {
  const claims = new Set<string>();
  const expressions = new Set<string>();
  (c.claimValidationRules ?? []).forEach((rule, i) => {
    const { claim = '', requiredValue = '', expression = '', message = '' } = rule;
    const at = `${path}[${i}]`;
    if (claim !== '' && expression !== '') x.errors.push(invalid(at, claim, "claim and expression can't both be set"));
    else if (claim === '' && expression === '') x.errors.push(required(at, 'claim or expression is required'));
    else if (claim !== '') {
      if (message !== '') x.errors.push(invalid(`${at}.message`, message, 'may not be specified when claim is set'));
      if (claims.has(claim)) x.errors.push(duplicate(`${at}.claim`, claim));
      claims.add(claim);
    } else {
      if (requiredValue !== '')
        x.errors.push(invalid(`${at}.requiredValue`, requiredValue, 'may not be specified when expression is set'));
      if (expressions.has(expression)) {
        x.errors.push(duplicate(`${at}.expression`, expression));
        return;
      }
      expressions.add(expression);
      const compiled = x.compile(expression, `${at}.expression`, (s) => compileClaims(s, true));
      if (compiled !== undefined) x.claimRules.push({ message, expression: compiled });
    }
  });
}

function examineMapping(
  x: Examination,
  mapping: ClaimOrExpression,
  path: string,
  isRequired: boolean,
): CompiledExpression | undefined {
  const { claim = '', expression = '', prefix } = mapping;
  if (expression !== '' && claim !== '') x.errors.push(invalid(path, '', "claim and expression can't both be set"));
  else if (expression === '' && claim === '') {
    if (isRequired) x.errors.push(required(path, 'claim or expression is required'));
  } else if (expression !== '') {
    if (prefix !== undefined)
      x.errors.push(invalid(`${path}.prefix`, prefix, 'may not be specified when expression is set'));
    return x.compile(expression, `${path}.expression`, (s) => compileClaims(s, false));
  } else if (prefix === undefined)
    x.errors.push(
      required(
        `${path}.prefix`,
        'prefix is required when claim is set. It can be set to an empty string to disable prefixing',
      ),
    );
  return undefined;
}

const pathFormat = "[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+";
const pathPattern = /^[A-Za-z0-9/\-._~%!$&'()*+,;=:]+$/;

/** `acme.io/foo` */
export function domainPrefixedPathErrors(text: string, path: string): FieldError[] {
  if (text === '') return [required(path)];
  const slash = text.indexOf('/');
  const host = text.slice(0, Math.max(slash, 0));
  const rest = text.slice(slash + 1);
  if (slash < 0 || host === '' || rest === '')
    return [invalid(path, text, 'must be a domain-prefixed path (such as "acme.io/foo")')];
  const errors = isDNS1123Subdomain(host).map((m) => invalid(path, host, m));
  if (!pathPattern.test(rest)) errors.push(invalid(path, rest, regexError('Invalid path', pathFormat)));
  return errors;
}

function isReserved(key: string): boolean {
  const slash = key.indexOf('/');
  const domain = slash < 0 ? '' : key.slice(0, slash);
  return ['kubernetes.io', 'k8s.io'].some((d) => domain === d || domain.endsWith(`.${d}`));
}

function examineMappings(x: Examination, c: JwtAuthenticatorConfiguration, path: string): void {
  const m = c.claimMappings;
  x.username = examineMapping(x, m.username, `${path}.username`, true);
  x.groups = examineMapping(x, m.groups ?? {}, `${path}.groups`, false);
  const { claim = '', expression = '' } = m.uid ?? {};
  if (claim !== '' && expression !== '')
    x.errors.push(invalid(`${path}.uid`, '', "claim and expression can't both be set"));
  else if (expression !== '') x.uid = x.compile(expression, `${path}.uid.expression`, (s) => compileClaims(s, false));
  const keys = new Set<string>();
  (m.extra ?? []).forEach(({ key = '', valueExpression = '' }, i) => {
    const at = `${path}.extra[${i}]`;
    x.errors.push(...domainPrefixedPathErrors(key, `${at}.key`));
    if (key !== key.toLowerCase()) x.errors.push(invalid(`${at}.key`, key, 'must be lowercase'));
    if (isReserved(key))
      x.errors.push(
        invalid(`${at}.key`, key, 'k8s.io, kubernetes.io and their subdomains are reserved for Kubernetes use'),
      );
    if (keys.has(key)) {
      x.errors.push(duplicate(`${at}.key`, key));
      return;
    }
    keys.add(key);
    if (valueExpression === '') {
      x.errors.push(required(`${at}.valueExpression`));
      return;
    }
    const compiled = x.compile(valueExpression, `${at}.valueExpression`, (s) => compileClaims(s, false));
    if (compiled !== undefined) x.extra.push({ key, expression: compiled });
  });
  const usesVerified = [x.username, ...x.extra.map((e) => e.expression), ...x.claimRules.map((r) => r.expression)].some(
    (e) => e !== undefined && usesClaim(e, 'email_verified'),
  );
  if (x.username !== undefined && usesClaim(x.username, 'email') && !usesVerified)
    x.errors.push(
      invalid(
        `${path}.username.expression`,
        m.username.expression ?? '',
        'claims.email_verified must be used in claimMappings.username.expression or claimMappings.extra[*].valueExpression or claimValidationRules[*].expression when claims.email is used in claimMappings.username.expression',
      ),
    );
}

function examineUserRules(x: Examination, c: JwtAuthenticatorConfiguration, path: string): void {
  const seen = new Set<string>();
  (c.userValidationRules ?? []).forEach(({ expression = '', message = '' }, i) => {
    const at = `${path}[${i}].expression`;
    if (expression === '') x.errors.push(required(at));
    else if (seen.has(expression)) x.errors.push(duplicate(at, expression));
    else {
      seen.add(expression);
      const compiled = x.compile(expression, at, compileUser);
      if (compiled !== undefined) x.userRules.push({ message, expression: compiled });
    }
  });
}

/** Validates one authenticator and compiles its expressions. `disallowed`: issuers that are the cluster's own. */
export function examineJwtAuthenticator(
  c: JwtAuthenticatorConfiguration,
  disallowed: readonly string[],
  path: string,
): { readonly errors: readonly FieldError[]; readonly mappings: CompiledMappings } {
  const x = new Examination();
  x.errors.push(...issuerErrors(c.issuer, disallowed, `${path}.issuer`));
  examineClaimRules(x, c, `${path}.claimValidationRules`);
  examineMappings(x, c, `${path}.claimMappings`);
  examineUserRules(x, c, `${path}.userValidationRules`);
  const { username, groups, uid, extra, claimRules, userRules } = x;
  return {
    errors: x.errors,
    mappings: {
      ...(username === undefined ? {} : { username }),
      ...(groups === undefined ? {} : { groups }),
      ...(uid === undefined ? {} : { uid }),
      extra,
      claimRules,
      userRules,
    },
  };
}

const maxAuthenticators = 64;

export function validateAuthenticationConfiguration(
  c: AuthenticationConfiguration,
  disallowed: readonly string[],
): FieldError[] {
  if (c.jwt.length > maxAuthenticators) return [tooMany('jwt', c.jwt.length, maxAuthenticators)];
  const errors: FieldError[] = [];
  const urls = new Set<string>();
  const discoveries = new Set<string>();
  c.jwt.forEach((jwt, i) => {
    const path = `jwt[${i}]`;
    errors.push(...examineJwtAuthenticator(jwt, disallowed, path).errors);
    const { url, discoveryURL = '' } = jwt.issuer;
    if (urls.has(url)) errors.push(duplicate(`${path}.issuer.url`, url));
    urls.add(url);
    if (discoveryURL === '') return;
    if (discoveries.has(discoveryURL)) errors.push(duplicate(`${path}.issuer.discoveryURL`, discoveryURL));
    discoveries.add(discoveryURL);
  });
  const { anonymous } = c;
  const conditions = anonymous?.conditions ?? [];
  if (anonymous !== undefined && !anonymous.enabled && conditions.length > 0)
    errors.push(
      invalid(
        'anonymous.conditions',
        conditions.map((condition) => ({ Path: condition.path })),
        'enabled should be set to true when conditions are defined',
      ),
    );
  return errors;
}

/** Several field errors as Go's aggregates print them. */
export function aggregateFieldErrors(errors: readonly FieldError[]): string {
  const texts = [...new Set(errors.map(formatFieldError))];
  return texts.length === 1 ? texts[0]! : `[${texts.join(', ')}]`;
}

/**
 * What a configuration file holds (parsed YAML), not validated yet.
 * @throws {Error} with upstream's text
 */
export function decodeAuthenticationConfiguration(given: unknown): AuthenticationConfiguration {
  const { fields } = decodeConfig(given, kind);
  const jwt = (fields['jwt'] ?? []) as readonly Partial<JwtAuthenticatorConfiguration>[];
  const anonymous = fields['anonymous'] as Partial<AnonymousConfiguration> | undefined;
  return {
    jwt: jwt.map((j) => ({
      ...j,
      issuer: { ...j.issuer, url: j.issuer?.url ?? '', audiences: j.issuer?.audiences ?? [] },
      claimMappings: { ...j.claimMappings, username: j.claimMappings?.username ?? {} },
    })),
    ...(anonymous === undefined
      ? {}
      : {
          anonymous: {
            enabled: anonymous.enabled ?? false,
            ...(anonymous.conditions === undefined
              ? {}
              : {
                  conditions: anonymous.conditions.map((condition) => ({ ...condition, path: condition.path ?? '' })),
                }),
          },
        }),
  };
}

/** What a running server does not take from a changed file: who may be anonymous. */
export function anonymousChange(
  initial: AnonymousConfiguration | undefined,
  next: AnonymousConfiguration | undefined,
): FieldError[] {
  return JSON.stringify(initial) === JSON.stringify(next)
    ? []
    : [forbiddenField('anonymous', 'changed from initial configuration file')];
}
