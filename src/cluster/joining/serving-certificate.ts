/**
 * A kubelet's serving certificate by the cluster's authority (`serverTLSBootstrap`): asked for by CertificateSigningRequests with the
 * signer kubernetes.io/kubelet-serving, which somebody has to approve; renewed before it expires and when the node's addresses change.
 * Until there is one, no TLS connection to the kubelet can be made, as upstream has it.
 */
import { X509Certificate } from 'node:crypto';
import type { NodeAddress } from '../../api/types/index.gen.ts';
import type { TypedClient } from '../../client/typed-client.ts';
import { loadCurrent, renewAt, saveCurrent } from './certificate-file.ts';
import type { CertificateEnvironment, CertificatePair } from './certificate-request.ts';
import { requestCertificate } from './certificate-request.ts';

const kind = 'kubelet-server';
const retryMs = 60_000;
/** How often the node's addresses are looked at. */
const lookMs = 60_000;
/** How often they are while there are none. */
const waitMs = 500;

export interface ServingCertificateOptions {
  /** `--cert-dir` */
  readonly dir: string;
  readonly nodeName: string;
  /** As the node. */
  readonly client: TypedClient;
  readonly env: CertificateEnvironment;
  /** As the Node's status has them now. */
  addresses(): readonly NodeAddress[];
  /** Told of each new certificate, also of the one that was kept. */
  use(pair: CertificatePair): void;
}

interface Names {
  readonly dns: readonly string[];
  readonly ips: readonly string[];
}

function namesOf(addresses: readonly NodeAddress[]): Names {
  const of = (types: readonly string[]): string[] => [
    ...new Set(addresses.filter((a) => types.includes(a.type)).map((a) => a.address)),
  ];
  return { dns: of(['Hostname', 'InternalDNS', 'ExternalDNS']), ips: of(['InternalIP', 'ExternalIP']) };
}

function covers(pair: CertificatePair, { dns, ips }: Names): boolean {
  const certificate = new X509Certificate(pair.certificate);
  return (
    dns.every((n) => certificate.checkHost(n) !== undefined) && ips.every((ip) => certificate.checkIP(ip) !== undefined)
  );
}

/** Keeps the node's serving certificate good for as long as the signal lets it. */
export async function keepServingCertificate(o: ServingCertificateOptions): Promise<void> {
  const { clock, logger, signal } = o.env;
  let pair: CertificatePair | undefined;
  let at = 0;
  const take = (next: CertificatePair): void => {
    pair = next;
    at = renewAt(next, o.env);
    o.use(next);
  };
  while (!signal.aborted) {
    try {
      if (pair === undefined) {
        const kept = await loadCurrent(o.dir, kind, o.nodeName, clock.now());
        if (kept !== undefined) take(kept);
      }
      const names = namesOf(o.addresses());
      const none = names.dns.length + names.ips.length === 0;
      if (none || (pair !== undefined && clock.now() < at && covers(pair, names))) {
        await clock.sleep(none ? waitMs : Math.min(Math.max(at - clock.now(), 0), lookMs), signal);
        continue;
      }
      const made = await requestCertificate(
        o.client,
        {
          nodeName: o.nodeName,
          signerName: 'kubernetes.io/kubelet-serving',
          usage: 'server auth',
          dnsNames: names.dns,
          ipAddresses: names.ips,
        },
        o.env,
      );
      await saveCurrent(o.dir, kind, made, clock.now());
      take(made);
      logger.info('the serving certificate was issued', { dns: names.dns.join(','), ips: names.ips.join(',') });
    } catch (error) {
      if (signal.aborted) return;
      logger.warn('no serving certificate could be had; trying again', { why: (error as Error).message });
      await clock.sleep(retryMs, signal).catch(() => {}); // rejects when the signal comes, which is looked at next
    }
  }
}
