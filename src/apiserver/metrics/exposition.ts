/** What the server's metrics are made of: the families that all components share. */
export type { Family, Labels } from '../../base/metric-families.ts';
export {
  alsoNamed,
  computed,
  Distribution,
  distributions,
  expose,
  HistogramVector,
  SummaryVector,
  Value,
  Vector,
} from '../../base/metric-families.ts';
