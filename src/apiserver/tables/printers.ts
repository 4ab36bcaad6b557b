/** The printer of each built-in kind, by `group/Kind` of its hub. Kinds that are missing show name and creation time. */
import { controlPrinters } from './print-control.ts';
import { corePrinters } from './print-core.ts';
import { metricsPrinters } from './print-metrics.ts';
import { networkStoragePrinters } from './print-network-storage.ts';
import { workloadPrinters } from './print-workloads.ts';
import type { Printer } from './table.ts';

export const printers: Readonly<Record<string, Printer>> = {
  ...corePrinters,
  ...workloadPrinters,
  ...networkStoragePrinters,
  ...controlPrinters,
  ...metricsPrinters,
};
