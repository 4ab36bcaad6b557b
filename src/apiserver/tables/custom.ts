/** Cells of custom resources. */
import type { ColumnInfo } from '../../api/catalog/resource.ts';
import type { Printer } from './table.ts';

export function customCells(_columns: readonly ColumnInfo[]): Printer {
  return (object) => [(object.metadata['name'] as string | undefined) ?? ''];
}
