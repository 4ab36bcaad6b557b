/**
 * `--send-retry-after-while-not-ready-once`: until the server has been ready for the first time, requests are told to come again
 * (503). Its own, probes and scraping pass, and so does a group for who looks into it.
 */
import { isServedToTheEnd } from '../termination.ts';
import { textResponse } from './panic.ts';
import type { Filter } from './scope.ts';

const debuggers = 'system:openshift:risky-not-ready-microshift-debugging-group';

/** `ready`: true from the first time on. */
export function retryUntil(ready: () => boolean): Filter {
  return (next) => (scope) => {
    const { user } = scope;
    if (
      ready() ||
      user?.name === 'system:apiserver' ||
      user?.groups.includes(debuggers) === true ||
      isServedToTheEnd(scope.request)
    )
      return next(scope);
    return textResponse(503, "The apiserver hasn't been fully initialized yet, please try again later.", {
      'retry-after': '5',
    });
  };
}
