/** `--tracing-config-file`. */
import { parseTracingConfig } from '../../apiserver/tracing/config.ts';
import { Tracer } from '../../apiserver/tracing/tracer.ts';
import { loadYaml } from '../yaml.ts';
import { readNamed, StartError, type ComponentEnvironment } from './environment.ts';

type Environment = Pick<ComponentEnvironment, 'clock' | 'random' | 'logger'>;

/** Undefined when nothing is traced. @throws {StartError} */
export async function createTracer(file: string | undefined, env: Environment): Promise<Tracer | undefined> {
  if (file === undefined || file === '') return undefined;
  const text = await readNamed('tracing-config-file', file);
  let config;
  try {
    config = parseTracingConfig(await loadYaml(text));
  } catch (error) {
    throw new StartError((error as Error).message, { cause: error });
  }
  const { otlpExporter } = await import('../../apiserver/tracing/otlp-exporter.ts');
  const { clock, random, logger } = env;
  return new Tracer({
    exporter: otlpExporter({
      endpoint: config.endpoint,
      resource: { 'service.name': 'apiserver', 'service.instance.id': `apiserver-${random.uuid()}` },
    }),
    samplingRatePerMillion: config.samplingRatePerMillion,
    clock,
    random,
    logger,
  });
}
