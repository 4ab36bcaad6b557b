/** The cleaner of PodCertificateRequests: a quarter of an hour is enough for any. Behind the gate PodCertificateRequest. */
import { timeMs } from '../../api/time.ts';
import { isConflict, isNotFound } from '../../client/errors.ts';
import type { TypedRef } from '../../client/resources.ts';
import type { ControllerContext, ControllerDescriptor, RunningController } from '../context.ts';

const lifeMs = 15 * 60_000;
const lookMs = 5 * 60_000;

const podCertificateRequests: TypedRef = {
  group: 'certificates.k8s.io',
  version: 'v1beta1',
  resource: 'podcertificaterequests',
  kind: 'PodCertificateRequest',
  namespaced: true,
};

function start(context: ControllerContext): RunningController | undefined {
  const { clock, logger } = context;
  if (context.options.features?.enabled('PodCertificateRequest') !== true) return undefined;
  const client = context.clientFor('podcertificaterequestcleaner').resource(podCertificateRequests);
  const requests = context.informers.informer(podCertificateRequests);
  const clean = async (): Promise<void> => {
    for (const { metadata } of [...requests.lister.list()]) {
      if (clock.now() < timeMs(metadata.creationTimestamp) + lifeMs) continue;
      try {
        await client.delete(metadata.name!, metadata.namespace, { preconditions: { uid: metadata.uid! } });
      } catch (error) {
        if (isNotFound(error) || isConflict(error)) continue;
        logger.warn('could not delete an old pod certificate request', { request: metadata.name, error });
      }
    }
  };
  let running: Promise<void> | undefined;
  const timer = clock.setTicker(lookMs, () => {
    running ??= clock.activity.track(clean()).finally(() => {
      running = undefined;
    });
  });
  return {
    async stop() {
      timer.cancel();
      await running;
    },
  };
}

export const podCertificateRequestCleaner: ControllerDescriptor = {
  name: 'podcertificaterequest-cleaner-controller',
  start,
};
