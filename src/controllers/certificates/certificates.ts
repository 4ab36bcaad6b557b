/**
 * The three controllers of certificate signing requests: the approver lets kubelets have their client certificates, the signer
 * signs what was approved for the well-known signers, the cleaner deletes old requests.
 */
import { X509Certificate } from 'node:crypto';
import { formatTime, timeMs } from '../../api/time.ts';
import type { CertificateSigningRequest } from '../../api/types/index.gen.ts';
import { readRequest, requestDer } from '../../base/certificate-request.ts';
import type { CertificateRequest } from '../../base/certificate-request.ts';
import type { Timer } from '../../base/clock.ts';
import { Controller } from '../../client/controller.ts';
import { isConflict, isNotFound } from '../../client/errors.ts';
import { resources } from '../../client/resources.ts';
import type { ControllerContext, ControllerDescriptor, RunningController } from '../context.ts';
import {
  apiServerClientError,
  apiServerClientSigner,
  hasCondition,
  isApproved,
  kubeletClientError,
  kubeletClientSigner,
  kubeletServingError,
  kubeletServingSigner,
  legacyUnknownSigner,
} from './csr.ts';

const hourMs = 3_600_000;
const maxDelayMs = 1_000_000;

function watchRequests(
  context: ControllerContext,
  name: string,
  handle: (csr: CertificateSigningRequest) => Promise<void>,
): RunningController {
  const requests = context.informers.informer(resources.certificates.certificatesigningrequests);
  const controller = new Controller({
    queueMetrics: context.queueMetrics,
    name,
    clock: context.clock,
    logger: context.logger,
    baseDelayMs: 200,
    maxDelayMs,
    reconcile: async (key) => {
      const csr = requests.lister.get(key);
      if (csr === undefined) return;
      try {
        await handle(csr);
      } catch (error) {
        if (!isNotFound(error)) throw error;
      }
    },
  });
  const wake = (csr: CertificateSigningRequest): void => controller.queue.add(csr.metadata.name!);
  requests.addHandler({ onAdd: wake, onUpdate: (_, csr) => wake(csr) });
  controller.start(requests.synced);
  return controller;
}

function startApprover(context: ControllerContext): RunningController {
  const client = context.clientFor('certificate-controller');
  const recognizers = [
    {
      subresource: 'selfnodeclient',
      message: 'Auto approving self kubelet client certificate after SubjectAccessReview.',
      fits: (csr: CertificateSigningRequest, r: CertificateRequest) => csr.spec.username === r.commonName,
    },
    {
      subresource: 'nodeclient',
      message: 'Auto approving kubelet client certificate after SubjectAccessReview.',
      fits: () => true,
    },
  ];
  return watchRequests(context, 'csr-approving', async (csr) => {
    if (csr.status?.certificate !== undefined && csr.status.certificate !== '') return;
    if (hasCondition(csr, 'Approved') || hasCondition(csr, 'Denied')) return;
    if (csr.spec.signerName !== kubeletClientSigner) return;
    const request = await readRequest(requestDer(csr.spec.request));
    if (kubeletClientError(request, csr.spec.usages ?? []) !== undefined) return;
    for (const { subresource, message, fits } of recognizers) {
      if (!fits(csr, request)) continue;
      const review = await client.authorization.subjectaccessreviews.create({
        metadata: {},
        spec: {
          user: csr.spec.username ?? '',
          ...(csr.spec.uid === undefined ? {} : { uid: csr.spec.uid }),
          ...(csr.spec.groups === undefined ? {} : { groups: csr.spec.groups }),
          ...(csr.spec.extra === undefined ? {} : { extra: csr.spec.extra }),
          resourceAttributes: {
            group: 'certificates.k8s.io',
            resource: 'certificatesigningrequests',
            verb: 'create',
            subresource,
            version: '*',
          },
        },
      });
      if (review.status?.allowed !== true) continue;
      const now = formatTime(context.clock.now());
      const condition = { type: 'Approved', status: 'True', reason: 'AutoApproved', message, lastUpdateTime: now };
      const conditions = [...(csr.status?.conditions ?? []), condition];
      await client.certificates.certificatesigningrequests.update(
        { ...csr, status: { ...csr.status, conditions } },
        { subresource: 'approval' },
      );
      return;
    }
  });
}

const signers = new Set([kubeletClientSigner, apiServerClientSigner, kubeletServingSigner, legacyUnknownSigner]);

function startSigner(context: ControllerContext): RunningController | undefined {
  const signer = context.options.certificateSigner;
  if (signer === undefined) return undefined;
  const client = context.clientFor('certificate-controller');
  return watchRequests(context, 'csr-signing', async (csr) => {
    if (!isApproved(csr) || hasCondition(csr, 'Failed')) return;
    if (csr.status?.certificate !== undefined && csr.status.certificate !== '') return;
    const { signerName } = csr.spec;
    if (!(signer.signers ?? signers).has(signerName)) return;
    const request = await readRequest(requestDer(csr.spec.request));
    const usages = csr.spec.usages ?? [];
    const wrong =
      signerName === kubeletClientSigner
        ? kubeletClientError(request, usages)
        : signerName === kubeletServingSigner
          ? kubeletServingError(request, usages)
          : signerName === apiServerClientSigner
            ? apiServerClientError(usages)
            : undefined;
    const requests = client.certificates.certificatesigningrequests;
    if (wrong !== undefined) {
      const failed = {
        type: 'Failed',
        status: 'True',
        reason: 'SignerValidationFailure',
        message: wrong,
        lastUpdateTime: formatTime(context.clock.now()),
      };
      const conditions = [...(csr.status?.conditions ?? []), failed];
      await requests.updateStatus({ ...csr, status: { ...csr.status, conditions } });
      return;
    }
    const pem = await signer.sign({
      signerName,
      csrPem: Buffer.from(csr.spec.request, 'base64').toString('utf8'),
      usages,
      expirationSeconds: csr.spec.expirationSeconds,
    });
    const certificate = Buffer.from(pem, 'utf8').toString('base64');
    await requests.updateStatus({ ...csr, status: { ...csr.status, certificate } });
  });
}

/** Requests that nobody needs any more: pending for a day, decided for an hour, issued and expired. */
function isOutdated(csr: CertificateSigningRequest, now: number): boolean {
  const older = (time: string | undefined, ms: number): boolean => now - timeMs(time) > ms;
  const conditions = csr.status?.conditions ?? [];
  const certificate = csr.status?.certificate ?? '';
  if (conditions.length === 0) return older(csr.metadata.creationTimestamp, 24 * hourMs);
  for (const c of conditions) {
    if ((c.type === 'Denied' || c.type === 'Failed') && older(c.lastUpdateTime, hourMs)) return true;
    if (c.type !== 'Approved') continue;
    if (certificate === '') {
      if (older(c.lastUpdateTime, 24 * hourMs)) return true;
    } else if (older(c.lastUpdateTime, hourMs) || isExpired(certificate, now)) return true;
  }
  return false;
}

function isExpired(certificate: string, now: number): boolean {
  try {
    const pem = Buffer.from(certificate, 'base64').toString('utf8');
    return now > Date.parse(new X509Certificate(pem).validTo);
  } catch {
    // What cannot be read does not say that it has expired; the other deadlines hold for it.
    return false;
  }
}

function startCleaner(context: ControllerContext): RunningController {
  const { clock, logger } = context;
  const client = context.clientFor('certificate-controller');
  const requests = context.informers.informer(resources.certificates.certificatesigningrequests);
  let running: Promise<void> | undefined;
  const clean = async (): Promise<void> => {
    for (const csr of [...requests.lister.list()]) {
      if (!isOutdated(csr, clock.now())) continue;
      try {
        await client.certificates.certificatesigningrequests.delete(csr.metadata.name!);
      } catch (error) {
        if (isNotFound(error) || isConflict(error)) continue;
        logger.warn('could not delete an old certificate signing request', { csr: csr.metadata.name, error });
      }
    }
  };
  const ticker: Timer = clock.setTicker(hourMs, () => {
    running ??= clock.activity.track(clean()).finally(() => {
      running = undefined;
    });
  });
  return {
    stop: async () => {
      ticker.cancel();
      await running;
    },
  };
}

export const csrApprovingController: ControllerDescriptor = {
  name: 'certificatesigningrequest-approving-controller',
  aliases: ['csrapproving'],
  start: startApprover,
};

export const csrSigningController: ControllerDescriptor = {
  name: 'certificatesigningrequest-signing-controller',
  aliases: ['csrsigning'],
  start: startSigner,
};

export const csrCleanerController: ControllerDescriptor = {
  name: 'certificatesigningrequest-cleaner-controller',
  aliases: ['csrcleaner'],
  start: startCleaner,
};
