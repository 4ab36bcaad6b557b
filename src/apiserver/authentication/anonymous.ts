/** Requests without credentials: `system:anonymous` in `system:unauthenticated`. */
import type { UserInfo } from '../request.ts';

export const anonymousUser: UserInfo = Object.freeze({
  name: 'system:anonymous',
  groups: Object.freeze(['system:unauthenticated']),
});
