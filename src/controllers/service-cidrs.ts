/**
 * The ServiceCIDR controller: marks ranges of Service addresses ready and keeps one that is being deleted as long as addresses in
 * use would be left without a range.
 */
import { formatTime, timeMs } from '../api/time.ts';
import type { IPAddress, ServiceCIDR } from '../api/types/index.gen.ts';
import { Controller } from '../client/controller.ts';
import { isNotFound } from '../client/errors.ts';
import { resources } from '../client/resources.ts';
import type { ControllerContext, ControllerDescriptor, RunningController } from './context.ts';
import type { Cidr } from '../base/ip.ts';
import { cidrsOverlap, parseCidr } from '../base/ip.ts';

const finalizer = 'networking.k8s.io/service-cidr-finalizer';
const managedByLabel = 'ipaddress.kubernetes.io/managed-by';
const allocatorName = 'ipallocator.k8s.io';
const fieldManager = 'service-cidr-controller';
/** Allocators need this long to notice that a range is going away. */
const deletionGraceMs = 10_000;

const contains = (outer: Cidr, inner: Cidr): boolean => outer.prefix <= inner.prefix && cidrsOverlap(outer, inner);

const rangesOf = (c: ServiceCIDR): Cidr[] =>
  (c.spec?.cidrs ?? []).map(parseCidr).filter((r): r is Cidr => r !== undefined);

function addressOf(ip: IPAddress): Cidr | undefined {
  const name = ip.metadata.name ?? '';
  return parseCidr(`${name}/${name.includes(':') ? 128 : 32}`);
}

function start(context: ControllerContext): RunningController {
  const { clock, logger } = context;
  const client = context.clientFor('service-cidrs-controller');
  const cidrs = context.informers.informer(resources.networking.servicecidrs);
  const addresses = context.informers.informer(resources.networking.ipaddresses);

  /** Ranges, not being deleted or this one, that contain what is asked for. */
  const containing = (inner: Cidr): ServiceCIDR[] =>
    [...cidrs.lister.list()].filter(
      (c) => c.metadata.deletionTimestamp === undefined && rangesOf(c).some((r) => contains(r, inner)),
    );

  const canDelete = (cidr: ServiceCIDR): boolean => {
    const others = (inner: Cidr): boolean => containing(inner).some((c) => c.metadata.name !== cidr.metadata.name);
    const ranges = rangesOf(cidr);
    if (ranges.every(others)) return true;
    for (const ip of addresses.lister.list()) {
      if (ip.metadata.labels?.[managedByLabel] !== allocatorName) continue;
      const address = addressOf(ip);
      if (address !== undefined && ranges.some((r) => contains(r, address)) && !others(address)) return false;
    }
    return true;
  };

  const setReady = async (cidr: ServiceCIDR, status: string, reason: string, message: string): Promise<void> => {
    const current = cidr.status?.conditions?.find((c) => c.type === 'Ready');
    if (current?.status === status && current.reason === reason && current.message === message) return;
    const lastTransitionTime = formatTime(clock.now());
    await client.networking.servicecidrs.apply(
      {
        metadata: { name: cidr.metadata.name },
        status: { conditions: [{ type: 'Ready', status, reason, message, lastTransitionTime }] },
      },
      { fieldManager, force: true, subresource: 'status' },
    );
  };

  const controller = new Controller({
    queueMetrics: context.queueMetrics,
    name: 'service-cidrs',
    clock,
    logger,
    maxRetries: 15,
    reconcile: async (name) => {
      const cidr = cidrs.lister.get(name);
      if (cidr === undefined) return;
      const has = cidr.metadata.finalizers?.includes(finalizer) ?? false;
      const patch = async (metadata: Record<string, unknown>): Promise<void> => {
        await client.networking.servicecidrs.patch(name, undefined, 'strategic', { metadata });
      };
      try {
        if (cidr.metadata.deletionTimestamp === undefined) {
          if (!has) await patch({ finalizers: [finalizer] });
          await setReady(cidr, 'True', '', 'Kubernetes Service CIDR is ready');
          return;
        }
        if (!canDelete(cidr)) {
          const message =
            'There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR';
          await setReady(cidr, 'False', 'Terminating', message);
          return;
        }
        const left = deletionGraceMs - (clock.now() - timeMs(cidr.metadata.deletionTimestamp));
        if (left > 0) controller.queue.addAfter(name, left);
        else if (has) await patch({ '$deleteFromPrimitiveList/finalizers': [finalizer] });
      } catch (error) {
        if (!isNotFound(error)) throw error;
      }
    },
  });
  /** Ranges that touch a changed one: each may hold up, or set free, the other. */
  const wake = (cidr: ServiceCIDR): void => {
    controller.queue.add(cidr.metadata.name!);
    const ranges = rangesOf(cidr);
    for (const other of cidrs.lister.list()) {
      if (rangesOf(other).some((r) => ranges.some((x) => cidrsOverlap(r, x)))) {
        controller.queue.add(other.metadata.name!);
      }
    }
  };
  const addressGone = (ip: IPAddress): void => {
    const address = addressOf(ip);
    if (address === undefined) return;
    for (const c of cidrs.lister.list()) {
      if (rangesOf(c).some((r) => contains(r, address))) controller.queue.add(c.metadata.name!);
    }
  };
  cidrs.addHandler({ onAdd: wake, onUpdate: (_, c) => wake(c), onDelete: wake });
  addresses.addHandler({ onDelete: addressGone });
  controller.start(cidrs.synced, addresses.synced);
  return controller;
}

export const serviceCIDRController: ControllerDescriptor = {
  name: 'service-cidr-controller',
  aliases: ['service-cidrs'],
  start,
};
