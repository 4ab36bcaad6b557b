/**
 * The ways to act as somebody else (KEP-5284): as the node one's pod runs on, any node, a service account, another user, each
 * limited to what `impersonate-on:MODE:VERB` allows, and the old one, which `impersonate` allows whatever is then done.
 */
import { isDNS1123Subdomain } from '../../api/names.ts';
import { formatFieldError } from '../../api/field-error.ts';
import { serviceAccountGroups, splitServiceAccountUser } from '../authentication/authenticator.ts';
import { domainPrefixedPathErrors } from '../authentication/config.ts';
import { systemMasters } from '../authorization/union.ts';
import type { AuthorizationAttributes, AuthorizationOutcome } from '../context.ts';
import type { UserInfo } from '../request.ts';
import { forbiddenByAuthorizer } from './authorization.ts';

/** Who the headers ask for. */
export interface WantedUser {
  readonly name: string;
  readonly uid: string;
  readonly groups: readonly string[];
  readonly extra: Readonly<Record<string, readonly string[]>>;
}

export interface Impersonated {
  readonly user: UserInfo;
  /** The verb that allowed it; empty for the old way. */
  readonly constraint: string;
}

type Ask = (attributes: AuthorizationAttributes) => Promise<AuthorizationOutcome>;
/** As `Ask`, and throws 403 for a refusal. */
type Check = (attributes: AuthorizationAttributes) => Promise<void>;

const nodeUserPrefix = 'system:node:';
const nodeNameKey = 'authentication.kubernetes.io/node-name';
/** So many questions at once are first tried as a single one for all. */
const many = 4;

function nodeOf(username: string): string | undefined {
  if (!username.startsWith(nodeUserPrefix)) return undefined;
  const name = username.slice(nodeUserPrefix.length);
  return isDNS1123Subdomain(name).length === 0 ? name : undefined;
}

function onlyName({ uid, groups, extra }: WantedUser): boolean {
  return uid === '' && groups.length === 0 && Object.keys(extra).length === 0;
}

/** The caller is a service account whose pod runs on the node that is asked for. */
function isAssociated(requestor: UserInfo, username: string): boolean {
  const node = nodeOf(username);
  if (node === undefined || splitServiceAccountUser(requestor.name) === undefined) return false;
  const values = requestor.extra?.[nodeNameKey] ?? [];
  return values.length === 1 && values[0] === node;
}

interface Mode {
  /** `user-info`; undefined for the old way. */
  readonly name: string | undefined;
  /** Whether it is about such users at all. */
  fits(wanted: WantedUser, requestor: UserInfo): boolean;
  /** What is really asked of the authorizer. */
  readonly rewrite?: (attributes: AuthorizationAttributes) => AuthorizationAttributes;
}

const modes: readonly Mode[] = [
  {
    name: 'associated-node',
    fits: (wanted, requestor) => onlyName(wanted) && isAssociated(requestor, wanted.name),
    // The same question wherever the service account's pods run: which node it is has been looked at already.
    rewrite: (a) => ({
      ...a,
      ...(a.verb === 'impersonate:associated-node' ? { name: '*' } : {}),
      user: {
        ...a.user,
        extra: {
          'authentication.kubernetes.io/associated-node-keys': Object.keys(a.user.extra ?? {}).toSorted(),
        },
      },
    }),
  },
  { name: 'arbitrary-node', fits: (wanted) => onlyName(wanted) && nodeOf(wanted.name) !== undefined },
  { name: 'serviceaccount', fits: (wanted) => onlyName(wanted) && splitServiceAccountUser(wanted.name) !== undefined },
  {
    name: 'user-info',
    fits: (wanted) => nodeOf(wanted.name) === undefined && splitServiceAccountUser(wanted.name) === undefined,
  },
  { name: undefined, fits: () => true },
];

function checker(ask: Ask, rewrite: Mode['rewrite']): Check {
  return async (given) => {
    const attributes = rewrite === undefined ? given : rewrite(given);
    const { decision, reason, error } = await ask(attributes);
    if (decision === 'allow') return;
    const why = error === undefined ? reason : reason === '' ? error.message : `${error.message}: ${reason}`;
    throw forbiddenByAuthorizer(attributes, why);
  };
}

/** Why such extras cannot be asked for in a limited way; undefined when they can. */
function extraError(extra: WantedUser['extra']): string | undefined {
  for (const [key, values] of Object.entries(extra)) {
    if (key === '') return 'impersonating the empty string key in extra is not allowed';
    const errors = domainPrefixedPathErrors(key, 'extra.key').map(formatFieldError);
    if (errors.length > 0)
      return `impersonating an invalid key in extra is not allowed: ${errors.length === 1 ? errors[0] : `[${errors.join(', ')}]`}`;
    if (key !== key.toLowerCase())
      return `impersonating a non-lowercase key in extra is not allowed: ${JSON.stringify(key)}`;
    if (values.length === 0) return 'impersonating empty values in extra is not allowed';
    if (values.includes('')) return 'impersonating the empty string value in extra is not allowed';
  }
  return undefined;
}

async function anyOf(check: Check, attributes: AuthorizationAttributes): Promise<boolean> {
  try {
    await check(attributes);
    return true;
  } catch {
    // Not for all at once: each is asked for by itself.
    return false;
  }
}

/** Asks for everything that is wanted; the user that comes of it. */
async function become(mode: Mode, check: Check, wanted: WantedUser, requestor: UserInfo): Promise<UserInfo> {
  const constrained = mode.name !== undefined;
  const attributes = (
    authentication: boolean,
    resource: string,
    name: string,
    more: Partial<AuthorizationAttributes> = {},
  ): AuthorizationAttributes => ({
    user: requestor,
    verb: constrained ? `impersonate:${mode.name}` : 'impersonate',
    isResourceRequest: true,
    group: authentication ? 'authentication.k8s.io' : '',
    version: 'v1',
    resource,
    subresource: '',
    namespace: '',
    name,
    path: '',
    ...more,
  });
  let groups: readonly string[] = wanted.groups;
  const node = constrained ? nodeOf(wanted.name) : undefined;
  const account = splitServiceAccountUser(wanted.name);
  if (node !== undefined) {
    groups = ['system:nodes'];
    await check(attributes(constrained, 'nodes', node));
  } else if (account !== undefined) {
    if (groups.length === 0) groups = serviceAccountGroups(account.namespace);
    await check(attributes(constrained, 'serviceaccounts', account.name, { namespace: account.namespace }));
  } else await check(attributes(constrained, 'users', wanted.name));
  if (wanted.uid !== '') await check(attributes(true, 'uids', wanted.uid));
  await checkGroups(constrained, check, wanted.groups, (name) => attributes(constrained, 'groups', name));
  await checkExtra(constrained, check, wanted.extra, (subresource, name) =>
    attributes(true, 'userextras', name, { subresource }),
  );
  const unauthenticated = 'system:unauthenticated';
  const implied = wanted.name === 'system:anonymous' ? unauthenticated : 'system:authenticated';
  if (!groups.includes(implied) && !groups.includes(unauthenticated)) groups = [...groups, implied];
  return {
    name: wanted.name,
    ...(wanted.uid === '' ? {} : { uid: wanted.uid }),
    groups,
    ...(Object.keys(wanted.extra).length === 0 ? {} : { extra: wanted.extra }),
  };
}

async function checkGroups(
  constrained: boolean,
  check: Check,
  groups: readonly string[],
  attributes: (name: string) => AuthorizationAttributes,
): Promise<void> {
  if (constrained) {
    if (groups.includes(''))
      throw forbiddenByAuthorizer(attributes(''), 'impersonating the empty string group is not allowed');
    if (groups.includes(systemMasters))
      throw forbiddenByAuthorizer(attributes(systemMasters), 'impersonating the system:masters group is not allowed');
    if (groups.length >= many && (await anyOf(check, attributes('*')))) return;
  }
  for (const group of groups) await check(attributes(group));
}

async function checkExtra(
  constrained: boolean,
  check: Check,
  extra: WantedUser['extra'],
  attributes: (key: string, value: string) => AuthorizationAttributes,
): Promise<void> {
  const entries = Object.entries(extra);
  if (entries.length === 0) return;
  if (constrained) {
    const why = extraError(extra);
    if (why !== undefined) throw forbiddenByAuthorizer(attributes('', ''), why);
    const count = entries.reduce((n, [, values]) => n + values.length, 0);
    if (count >= many && (await anyOf(check, attributes('*', '*')))) return;
  }
  for (const [key, values] of entries) for (const value of values) await check(attributes(key, value));
}

const remembered = 10_000;

export class ImpersonationModes {
  readonly #ask: Ask;
  /** The mode that last let a caller act as somebody else, by the caller's name: it is tried first. */
  readonly #last = new Map<string, number>();

  readonly #modes: readonly Mode[];

  /** `constrained`: the limited ways are open, too. */
  constructor(ask: Ask, constrained: boolean) {
    this.#ask = ask;
    this.#modes = constrained ? modes : modes.filter((m) => m.name === undefined);
  }

  /**
   * The user as whom the request goes on. `attributes`: of the request itself, by the real caller.
   * @throws {StatusError} 403 when no way is open
   */
  async become(wanted: WantedUser, attributes: AuthorizationAttributes): Promise<Impersonated> {
    const requestor = attributes.user;
    const last = this.#last.get(requestor.name);
    const order = this.#modes.map((_, i) => i);
    if (last !== undefined) order.unshift(...order.splice(last, 1));
    let refusal: unknown;
    for (const index of order) {
      const mode = this.#modes[index]!;
      if (!mode.fits(wanted, requestor)) continue;
      const check = checker(this.#ask, mode.rewrite);
      try {
        if (mode.name !== undefined)
          await check({ ...attributes, verb: `impersonate-on:${mode.name}:${attributes.verb}` });
        const user = await become(mode, check, wanted, requestor);
        if (index !== last) {
          if (this.#last.size >= remembered) this.#last.delete(this.#last.keys().next().value!);
          this.#last.set(requestor.name, index);
        }
        return { user, constraint: mode.name === undefined ? '' : `impersonate:${mode.name}` };
      } catch (error) {
        // The first refusal is the one that is told.
        refusal ??= error;
      }
    }
    throw refusal;
  }
}
