/**
 * `Impersonate-User`, `-Group`, `-Uid` and `-Extra-*`: every thing asked for is authorized against the real caller with
 * the verb `impersonate`, then the request goes on as the other user.
 */
import { badRequest } from '../../api/status.ts';
import type { AuthorizationAttributes, Authorizer } from '../context.ts';
import type { IncomingRequest, UserInfo } from '../request.ts';
import { headerValues } from '../http/headers.ts';
import type { AuthorizationObserver } from './authorization.ts';
import { forbiddenByAuthorizer } from './authorization.ts';
import type { Filter } from './scope.ts';

interface Wish {
  readonly kind: 'ServiceAccount' | 'User' | 'Group' | 'UserExtra' | 'UID';
  readonly namespace: string;
  readonly name: string;
  /** Key of an extra. */
  readonly key: string;
}

const extraPrefix = 'impersonate-extra-';

function asks(headers: Readonly<Record<string, string>>): boolean {
  for (const name in headers) if (name.charCodeAt(0) === 105 && name.startsWith('impersonate-')) return true;
  return false;
}

function extraKey(encoded: string): string {
  try {
    return decodeURIComponent(encoded);
  } catch {
    // Recorded as it stands, as upstream does with malformed escapes.
    return encoded;
  }
}

/** Namespace and name of `system:serviceaccount:NS:NAME`. */
function splitServiceAccount(username: string): { namespace: string; name: string } | undefined {
  if (!username.startsWith('system:serviceaccount:')) return undefined;
  const parts = username.slice('system:serviceaccount:'.length).split(':');
  if (parts.length !== 2 || parts[0] === '' || parts[1] === '') return undefined;
  return { namespace: parts[0]!, name: parts[1]! };
}

function wishesOf(request: IncomingRequest): Wish[] {
  const wishes: Wish[] = [];
  const user = request.headers['impersonate-user'] ?? '';
  if (user !== '') {
    const account = splitServiceAccount(user);
    if (account !== undefined) wishes.push({ kind: 'ServiceAccount', ...account, key: '' });
    else wishes.push({ kind: 'User', namespace: '', name: user, key: '' });
  }
  let more = false;
  for (const group of headerValues(request, 'impersonate-group')) {
    more = true;
    wishes.push({ kind: 'Group', namespace: '', name: group, key: '' });
  }
  for (const header in request.headers) {
    if (!header.startsWith(extraPrefix)) continue;
    more = true;
    const key = extraKey(header.slice(extraPrefix.length));
    for (const value of headerValues(request, header))
      wishes.push({ kind: 'UserExtra', namespace: '', name: value, key });
  }
  const uid = request.headers['impersonate-uid'] ?? '';
  if (uid !== '') {
    more = true;
    wishes.push({ kind: 'UID', namespace: '', name: uid, key: '' });
  }
  if (more && user === '') {
    const list = wishes.map((w) => `{${w.kind} ${w.namespace} ${w.name}}`).join(' ');
    throw badRequest(`requested [${list}] without impersonating a user`);
  }
  return wishes;
}

const resourceOf: Record<Wish['kind'], string> = {
  ServiceAccount: 'serviceaccounts',
  User: 'users',
  Group: 'groups',
  UserExtra: 'userextras',
  UID: 'uids',
};

function attributesOf(caller: UserInfo, wish: Wish): AuthorizationAttributes {
  const authentication = wish.kind === 'UserExtra' || wish.kind === 'UID';
  return {
    user: caller,
    verb: 'impersonate',
    isResourceRequest: true,
    group: authentication ? 'authentication.k8s.io' : '',
    version: authentication ? 'v1' : '',
    resource: resourceOf[wish.kind],
    subresource: wish.key,
    namespace: wish.namespace,
    name: wish.name,
    path: '',
  };
}

export function withImpersonation(authorizer: Authorizer, observe: AuthorizationObserver | undefined): Filter {
  return (next) => {
    const impersonate = withWishes(authorizer, observe)(next);
    return (scope) => (asks(scope.request.headers) ? impersonate(scope) : next(scope));
  };
}

function withWishes(authorizer: Authorizer, observe: AuthorizationObserver | undefined): Filter {
  return (next) => async (scope) => {
    const wishes = wishesOf(scope.request);
    if (wishes.length === 0) return next(scope);
    let name = '';
    let uid: string | undefined;
    let groups: string[] = [];
    const extra: Record<string, string[]> = {};
    const groupsGiven = wishes.some((w) => w.kind === 'Group');
    for (const wish of wishes) {
      const attributes = attributesOf(scope.user, wish);
      switch (wish.kind) {
        case 'ServiceAccount':
          name = `system:serviceaccount:${wish.namespace}:${wish.name}`;
          if (!groupsGiven) groups = ['system:serviceaccounts', `system:serviceaccounts:${wish.namespace}`];
          break;
        case 'User':
          name = wish.name;
          break;
        case 'Group':
          groups.push(wish.name);
          break;
        case 'UserExtra':
          (extra[wish.key] ??= []).push(wish.name);
          break;
        case 'UID':
          uid = wish.name;
          break;
      }
      const { decision, reason } = await authorizer.authorize(attributes);
      observe?.(attributes, decision, reason);
      if (decision !== 'allow') throw forbiddenByAuthorizer(attributes, reason);
    }
    if (name !== 'system:anonymous') {
      if (!groups.includes('system:authenticated') && !groups.includes('system:unauthenticated'))
        groups.push('system:authenticated');
    } else if (!groups.includes('system:unauthenticated')) groups.push('system:unauthenticated');
    scope.originalUser = scope.user;
    scope.user = {
      name,
      groups,
      ...(uid === undefined ? {} : { uid }),
      ...(Object.keys(extra).length === 0 ? {} : { extra }),
    };
    return next(scope);
  };
}
