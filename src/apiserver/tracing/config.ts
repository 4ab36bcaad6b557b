/** TracingConfiguration of apiserver.config.k8s.io: where spans go, and how many requests are traced. */
import { formatFieldError, invalid, type FieldError } from '../../api/field-error.ts';
import { decodeConfig } from '../config-decode.ts';

export interface TracingConfig {
  /** Default `localhost:4317`. */
  readonly endpoint: string;
  /** Default 0: only requests whose caller says so. */
  readonly samplingRatePerMillion: number;
}

/** @throws {Error} with upstream's message */
export function parseTracingConfig(value: unknown): TracingConfig {
  let fields: Readonly<Record<string, unknown>>;
  try {
    ({ fields } = decodeConfig(value, {
      kind: 'TracingConfiguration',
      versions: ['v1alpha1', 'v1beta1', 'v1'],
      fields: { endpoint: 'string', samplingRatePerMillion: 'int' },
    }));
  } catch (error) {
    throw new Error(
      `failed to read tracing config: unable to decode tracing configuration data: ${(error as Error).message}`,
      {
        cause: error,
      },
    );
  }
  const { endpoint, samplingRatePerMillion: rate } = fields as Partial<TracingConfig>;
  const errors: FieldError[] = [];
  if (rate !== undefined && rate < 0)
    errors.push(invalid('tracing.samplingRatePerMillion', rate, 'sampling rate must be positive'));
  if (rate !== undefined && rate > 1_000_000)
    errors.push(
      invalid(
        'tracing.samplingRatePerMillion',
        rate,
        'sampling rate per million must be less than or equal to one million',
      ),
    );
  const scheme = endpoint?.includes('//') === true ? endpoint.slice(0, endpoint.indexOf(':')) : 'dns';
  if (!['dns', 'unix', 'unix-abstract'].includes(scheme))
    errors.push(
      invalid(
        'tracing.endpoint',
        endpoint,
        `unsupported scheme: ${scheme}.  Options are none, dns, unix, or unix-abstract`,
      ),
    );
  if (errors.length > 0) {
    const texts = errors.map(formatFieldError);
    throw new Error(
      `failed to validate tracing configuration: ${texts.length === 1 ? texts[0]! : `[${texts.join(', ')}]`}`,
    );
  }
  return { endpoint: endpoint ?? 'localhost:4317', samplingRatePerMillion: rate ?? 0 };
}
