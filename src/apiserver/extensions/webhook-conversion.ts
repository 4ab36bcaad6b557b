/**
 * `WebhookConversion`: the conversion strategy `Webhook` of a CustomResourceDefinition. Objects go to the webhook in one
 * ConversionReview, and come back checked: it may change anything but what they are, and of their metadata labels and
 * annotations alone. Errors carry upstream's texts.
 */
import { goDynamicType } from '../../api/patch/values.ts';
import { stringifyJson, parseTrustedJson } from '../../api/codec/json.ts';
import { formatFieldError, type FieldError } from '../../api/field-error.ts';
import type { KubeObject } from '../../api/object.ts';
import { validateLabels } from '../../api/selector.ts';
import { StatusError } from '../../api/status.ts';
import type { CustomResourceConversion } from '../../api/types/index.gen.ts';
import { ioNow } from '../../base/io-time.ts';
import type { Random } from '../../base/random.ts';
import type { WebhookAnswer, WebhookClients } from '../connect/webhook-client.ts';
import { HistogramVector, Vector, type Family } from '../metrics/exposition.ts';
import { validateAnnotations } from '../validation/template-meta.ts';

type Json = Record<string, unknown>;

const timeoutMs = 30_000;
const reviewVersions = ['v1', 'v1beta1'];

/** Brings objects of one kind into another of its versions; the answer is in their order. */
export interface ObjectConversion {
  convert(objects: readonly KubeObject[], apiVersion: string): Promise<readonly KubeObject[]>;
}

/** What is measured of definitions, and of all conversion webhooks together. */
export class ConversionMetrics {
  readonly #durations = new HistogramVector(
    'apiserver_crd_conversion_webhook_duration_seconds',
    'CRD webhook conversion duration in seconds',
    Array.from({ length: 15 }, (_v, i) => 0.001 * 2 ** i),
  );
  readonly #requests = new Vector(
    'counter',
    'apiserver_conversion_webhook_request_total',
    'Counter for conversion webhook requests with success/failure and failure error type',
  );
  readonly #latency = new HistogramVector(
    'apiserver_conversion_webhook_duration_seconds',
    'Conversion webhook request latency',
    [0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 45, 60],
  );
  readonly #openapi2 = new Vector(
    'counter',
    'apiextensions_openapi_v2_regeneration_count',
    'Counter of OpenAPI v2 spec regeneration count broken down by causing CRD name and reason.',
  );
  readonly #openapi3 = new Vector(
    'counter',
    'apiextensions_openapi_v3_regeneration_count',
    'Counter of OpenAPI v3 spec regeneration count broken down by group, version, causing CRD and reason.',
  );
  readonly families: readonly Family[] = [
    this.#durations,
    this.#requests,
    this.#latency,
    this.#openapi2,
    this.#openapi3,
  ];

  /** A definition came, changed or went, and the documents that tell of it are to be made anew. */
  documented(crd: string, group: string, versions: readonly string[], reason: 'add' | 'update' | 'remove'): void {
    this.#openapi2.series(`${crd} ${reason}`, () => ({ crd, reason })).inc();
    for (const version of versions)
      this.#openapi3.series(`${crd} ${version} ${reason}`, () => ({ crd, group, reason, version })).inc();
  }

  observe(crd: string, from: string, to: string, seconds: number, failure: string | undefined): void {
    const succeeded = String(failure === undefined);
    const key = `${crd} ${from} ${to} ${succeeded}`;
    this.#durations
      .series(key, () => ({ crd_name: crd, from_version: from, succeeded, to_version: to }))
      .observe(seconds);
    const result = failure === undefined ? 'success' : 'failure';
    const labels = { failure_type: failure ?? '', result };
    this.#requests.series(`${result} ${failure ?? ''}`, () => labels).inc();
    this.#latency.series(`${result} ${failure ?? ''}`, () => labels).observe(seconds);
  }
}

export interface WebhookConversionOptions {
  /** The definition's name. */
  readonly name: string;
  readonly conversion: CustomResourceConversion;
  readonly clients: WebhookClients;
  readonly random: Random;
  readonly metrics: ConversionMetrics;
}

class Failure extends Error {
  readonly type: string;

  constructor(type: string, message: string, cause?: unknown) {
    super(message, { cause });
    this.type = `conversion_webhook_${type}_failure`;
  }
}

const invalidObject = 'invalid_converted_object';

function versionOf(apiVersion: string): string {
  return apiVersion.slice(apiVersion.indexOf('/') + 1);
}

function kindText(object: KubeObject): string {
  return `${object.apiVersion ?? ''}, Kind=${object.kind ?? ''}`;
}

const isJson = (value: unknown): value is Json => typeof value === 'object' && value !== null && !Array.isArray(value);

function aggregate(errors: readonly FieldError[]): string {
  const texts = [...new Set(errors.map(formatFieldError))];
  return texts.length === 1 ? texts[0]! : `[${texts.join(', ')}]`;
}

/** Labels or annotations as the webhook left them. */
function checkedTexts(original: unknown, converted: unknown, member: 'labels' | 'annotations'): unknown {
  if (converted === undefined || converted === null) return undefined;
  if (!isJson(converted))
    throw new Error(`invalid metadata.${member} of type ${goDynamicType(converted)} in converted object`);
  const before = isJson(original) ? original : {};
  let changed = Object.keys(before).length !== Object.keys(converted).length;
  for (const [key, value] of Object.entries(converted)) {
    if (typeof value !== 'string')
      throw new Error(
        `metadata.${member}[${key}] must be a string, but is ${goDynamicType(value)} in converted object`,
      );
    if (before[key] !== value) changed = true;
  }
  if (!changed) return original;
  const texts = converted as Record<string, string>;
  const errors =
    member === 'labels' ? validateLabels(texts, 'metadata.labels') : validateAnnotations(texts, 'metadata.annotation');
  if (errors.length > 0) throw new Error(aggregate(errors));
  return texts;
}

/** The converted object with the metadata that it had; only labels and annotations may be others. */
function restored(original: KubeObject, converted: Json): KubeObject {
  const given = converted['metadata'];
  if (given === undefined) throw new Error('missing metadata in converted object');
  if (!isJson(given)) throw new Error(`invalid metadata of type ${goDynamicType(given)} in converted object`);
  const metadata: Json = { ...original.metadata };
  for (const member of ['labels', 'annotations'] as const) {
    const texts = checkedTexts(original.metadata[member], given[member], member);
    if (texts === undefined) delete metadata[member];
    else metadata[member] = texts;
  }
  return { ...converted, metadata } as KubeObject;
}

/** It has to be the same object still. */
function checkSame(original: KubeObject, converted: Json): void {
  const metadata = isJson(converted['metadata']) ? converted['metadata'] : {};
  const same = (what: string, was: unknown, is: unknown): void => {
    const [a, b] = [String(was ?? ''), typeof is === 'string' ? is : ''];
    if (a !== b) throw new Error(`must have the same ${what}: ${a} != ${b}`);
  };
  same('name', original.metadata.name, metadata['name']);
  same('namespace', original.metadata.namespace, metadata['namespace']);
  same('UID', original.metadata.uid, metadata['uid']);
}

export class WebhookConversion implements ObjectConversion {
  readonly #o: WebhookConversionOptions;

  constructor(options: WebhookConversionOptions) {
    this.#o = options;
  }

  async convert(objects: readonly KubeObject[], apiVersion: string): Promise<readonly KubeObject[]> {
    const wanted = objects.filter((o) => o.apiVersion !== apiVersion && o.metadata.name !== undefined);
    const rename = (o: KubeObject): KubeObject => (o.apiVersion === apiVersion ? o : { ...o, apiVersion });
    if (wanted.length === 0) return objects.map(rename);
    const { name, metrics } = this.#o;
    const from = versionOf(wanted[0]!.apiVersion ?? '');
    const to = versionOf(apiVersion);
    const started = ioNow();
    const seconds = (): number => (ioNow() - started) / 1000;
    let converted: readonly KubeObject[];
    try {
      converted = await this.#ask(wanted, apiVersion);
    } catch (error) {
      const failure = error instanceof Failure ? error.type : 'conversion_webhook_call_failure';
      metrics.observe(name, from, to, seconds(), failure);
      throw new StatusError(500, '', (error as Error).message, undefined, { cause: error });
    }
    metrics.observe(name, from, to, seconds(), undefined);
    const answers = new Map(wanted.map((o, i) => [o, converted[i]!]));
    return objects.map((o) => answers.get(o) ?? rename(o));
  }

  async #ask(objects: readonly KubeObject[], apiVersion: string): Promise<KubeObject[]> {
    const { webhook } = this.#o.conversion;
    const kind = kindText(objects[0]!);
    const failed = `conversion webhook for ${kind} failed`;
    const version = (webhook?.conversionReviewVersions ?? []).find((v) => reviewVersions.includes(v));
    if (version === undefined) throw new Failure('call', 'no supported conversion review versions');
    const uid = this.#o.random.uuid();
    const reviewVersion = `apiextensions.k8s.io/${version}`;
    const body = stringifyJson({
      kind: 'ConversionReview',
      apiVersion: reviewVersion,
      request: { uid, desiredAPIVersion: apiVersion, objects },
      response: { uid: '', convertedObjects: null, result: { metadata: {} } },
    });
    let answer: WebhookAnswer;
    let review: unknown;
    try {
      answer = await this.#o.clients.post(clientConfig(webhook?.clientConfig ?? {}), { body, timeoutMs, plain: true });
      review = parseTrustedJson(answer.body);
    } catch (error) {
      throw new Failure('call', `${failed}: ${(error as Error).message}`, error);
    }
    let converted: readonly unknown[];
    try {
      converted = convertedObjects(review, reviewVersion, uid);
    } catch (error) {
      throw new Failure('malformed_response', `${failed}: ${(error as Error).message}`, error);
    }
    if (converted.length !== objects.length)
      throw new Failure(
        'partial_response',
        `conversion webhook for ${kind} returned ${converted.length} objects, expected ${objects.length}`,
      );
    return objects.map((original, i) => checked(original, converted[i], apiVersion, objects.length > 1, i));
  }
}

/** What is configured, in the shape of the clients. */
function clientConfig(
  config: NonNullable<NonNullable<CustomResourceConversion['webhook']>['clientConfig']>,
): Parameters<WebhookClients['post']>[0] {
  const ca = (config.caBundle ?? '') as string;
  const blank = ca !== '' && Buffer.from(ca, 'base64').toString('latin1').trim() === '';
  return {
    ...(config.url === undefined ? {} : { url: config.url }),
    ...(config.service === undefined ? {} : { service: config.service }),
    ...(ca === '' || blank ? {} : { caBundle: ca }),
  };
}

function convertedObjects(review: unknown, apiVersion: string, uid: string): readonly unknown[] {
  const given = isJson(review) ? review : {};
  const v1 = apiVersion.endsWith('/v1');
  if (v1 && (given['apiVersion'] !== apiVersion || given['kind'] !== 'ConversionReview')) {
    const [group, version] = String(given['apiVersion'] ?? '').includes('/')
      ? String(given['apiVersion']).split('/')
      : ['', String(given['apiVersion'] ?? '')];
    const got = `${group}/${version}, Kind=${String(given['kind'] ?? '')}`;
    throw new Error(`expected webhook response of ${apiVersion}, Kind=ConversionReview, got ${got}`);
  }
  const response = given['response'];
  if (!isJson(response)) throw new Error('no response provided');
  if (v1 && response['uid'] !== uid)
    throw new Error(`expected response.uid=${JSON.stringify(uid)}, got ${JSON.stringify(response['uid'] ?? '')}`);
  const result = isJson(response['result']) ? response['result'] : {};
  if (result['status'] !== 'Success') {
    const message = result['message'];
    if (typeof message === 'string' && message !== '') throw new Error(message);
    throw new Error(`response.result.status was '${String(result['status'] ?? '')}', not 'Success'`);
  }
  const objects = response['convertedObjects'];
  return Array.isArray(objects) ? objects : [];
}

function checked(original: KubeObject, answer: unknown, apiVersion: string, several: boolean, i: number): KubeObject {
  const by = `conversion webhook for ${kindText(original)} returned invalid`;
  const at = `${by} ${several ? 'converted ' : ''}object at index ${i}`;
  const fail = (text: string, cause?: unknown): Failure => new Failure(invalidObject, text, cause);
  if (!isJson(answer)) throw fail(`${at}: Object 'Kind' is missing in '${JSON.stringify(answer)}'`);
  const got = String(answer['apiVersion'] ?? '');
  if (got !== apiVersion) throw fail(`${at}: invalid groupVersion (expected ${apiVersion}, received ${got})`);
  if (answer['kind'] !== original.kind)
    throw fail(`${at}: invalid kind (expected ${original.kind}, received ${String(answer['kind'] ?? '')})`);
  try {
    checkSame(original, answer);
  } catch (error) {
    throw fail(`${several ? at : `${by} object`}: ${(error as Error).message}`, error);
  }
  try {
    return restored(original, answer);
  } catch (error) {
    const where = several ? ` in object at index ${i}` : '';
    throw fail(`${by} metadata${where}: ${(error as Error).message}`, error);
  }
}
