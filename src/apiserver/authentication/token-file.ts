/** Static tokens, as `--token-auth-file` holds them: `token,user,uid,"group1,group2"` a line. */
import { createHash } from 'node:crypto';
import type { UserInfo } from '../request.ts';
import { withAuthenticatedGroup, type TokenAuthenticator } from './authenticator.ts';

/** One record of CSV; double quotes around a field, doubled inside. */
function csvRecord(line: string): string[] {
  const fields: string[] = [];
  let i = 0;
  for (;;) {
    let field = '';
    if (line[i] === '"') {
      i++;
      while (i < line.length) {
        if (line[i] === '"') {
          if (line[i + 1] !== '"') break;
          i++;
        }
        field += line[i++];
      }
      i++;
    } else while (i < line.length && line[i] !== ',') field += line[i++];
    fields.push(field);
    if (line[i] !== ',') return fields;
    i++;
  }
}

/** Tokens and their users from the text of a token file. Throws on a line with fewer than three columns. */
export function parseTokenFile(text: string, path: string): Map<string, UserInfo> {
  const tokens = new Map<string, UserInfo>();
  for (const raw of text.split(/\r?\n/)) {
    if (raw.trim() === '' || raw.startsWith('#')) continue;
    const [token, name, uid, groups] = csvRecord(raw);
    if (token === undefined || name === undefined || uid === undefined)
      throw new Error(
        `token file '${path}' must have at least 3 columns (token, user name, user uid), found ${csvRecord(raw).length}`,
      );
    if (token === '') continue;
    tokens.set(token, { name, uid, groups: groups === undefined || groups === '' ? [] : groups.split(',') });
  }
  return tokens;
}

/** Looks tokens up by their digest, so that the time taken tells nothing of a token's text. */
export function createTokenFileAuthenticator(tokens: ReadonlyMap<string, UserInfo>): TokenAuthenticator {
  const digest = (token: string): string => createHash('sha256').update(token).digest('base64');
  const users = new Map<string, UserInfo>();
  for (const [token, user] of tokens) users.set(digest(token), withAuthenticatedGroup(user));
  return {
    async authenticateToken(token) {
      const user = users.get(digest(token));
      return user === undefined ? undefined : { user, audiences: undefined };
    },
  };
}
