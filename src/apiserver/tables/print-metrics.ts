/** Cells of metrics.k8s.io, as metrics-server prints them. */
import { addQuantity, formatQuantity, parseQuantity } from '../../api/quantity.ts';
import type { KubeObjectLike } from '../request.ts';
import type { Cell, Printer } from './table.ts';
import { nameOf } from './value.ts';

type Usage = Readonly<Record<string, string>>;

const row = (object: KubeObjectLike, usages: readonly Usage[]): Cell[] => {
  const total = (name: string): string =>
    formatQuantity(usages.map((u) => parseQuantity(u[name] ?? '0')).reduce(addQuantity, parseQuantity('0')));
  return [nameOf(object), total('cpu'), total('memory'), (object['window'] as string | undefined) ?? ''];
};

const nodeMetrics: Printer = (object) => row(object, [(object['usage'] ?? {}) as Usage]);

const podMetrics: Printer = (object) =>
  row(
    object,
    ((object['containers'] ?? []) as readonly { readonly usage?: Usage }[]).map((c) => c.usage ?? {}),
  );

export const metricsPrinters: Readonly<Record<string, Printer>> = {
  'metrics.k8s.io/NodeMetrics': nodeMetrics,
  'metrics.k8s.io/PodMetrics': podMetrics,
};
