/** Spans by OTLP over gRPC. Loading this file loads gRPC and protobufjs: import it lazily. */
import * as grpc from '@grpc/grpc-js';
import protobuf from 'protobufjs';
import { ioTimer } from '../../base/io-time.ts';
import type { SpanData, SpanExporter } from './tracer.ts';

/** Of opentelemetry.proto, what spans need; a `*` is repeated. */
const messages: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  ExportTraceServiceRequest: { resourceSpans: '*ResourceSpans 1' },
  ResourceSpans: { resource: 'Resource 1', scopeSpans: '*ScopeSpans 2' },
  Resource: { attributes: '*KeyValue 1' },
  ScopeSpans: { scope: 'InstrumentationScope 1', spans: '*Span 2' },
  InstrumentationScope: { name: 'string 1', version: 'string 2' },
  Span: {
    traceId: 'bytes 1',
    spanId: 'bytes 2',
    parentSpanId: 'bytes 4',
    name: 'string 5',
    kind: 'int32 6',
    startTimeUnixNano: 'fixed64 7',
    endTimeUnixNano: 'fixed64 8',
    attributes: '*KeyValue 9',
    links: '*Link 13',
    status: 'Status 15',
  },
  Link: { traceId: 'bytes 1', spanId: 'bytes 2' },
  Status: { code: 'int32 3' },
  KeyValue: { key: 'string 1', value: 'AnyValue 2' },
  AnyValue: { stringValue: 'string 1', intValue: 'int64 3' },
};

const timeoutMs = 10_000;

function requestType(): protobuf.Type {
  const ns = new protobuf.Root().define('otlp');
  for (const [name, fields] of Object.entries(messages)) {
    const type = new protobuf.Type(name);
    for (const [field, text] of Object.entries(fields)) {
      const [kind, id] = text.split(' ') as [string, string];
      if (kind.startsWith('*')) type.add(new protobuf.Field(field, Number(id), kind.slice(1), 'repeated'));
      else type.add(new protobuf.Field(field, Number(id), kind));
    }
    ns.add(type);
  }
  ns.resolveAll();
  return ns.lookupType('ExportTraceServiceRequest');
}

/** Milliseconds as nanoseconds in 64 bits. */
function nanos(ms: number): { low: number; high: number; unsigned: true } {
  const ns = BigInt(Math.round(ms * 1000)) * 1000n;
  return { low: Number(ns & 0xffff_ffffn) | 0, high: Number(ns >> 32n) | 0, unsigned: true };
}

function attributes(all: Readonly<Record<string, string | number>>): object[] {
  return Object.entries(all)
    .filter(([, v]) => v !== '')
    .map(([key, v]) => ({ key, value: typeof v === 'number' ? { intValue: v } : { stringValue: v } }));
}

export interface OtlpOptions {
  /** `localhost:4317`, or with a scheme that gRPC knows. */
  readonly endpoint: string;
  /** Of the resource: `service.name`, `service.instance.id`. */
  readonly resource: Readonly<Record<string, string>>;
}

export function otlpExporter(options: OtlpOptions): SpanExporter {
  const type = requestType();
  const client = new grpc.Client(options.endpoint, grpc.credentials.createInsecure(), {
    'grpc.use_local_subchannel_pool': 1,
  });
  const message = (spans: readonly SpanData[]): object => ({
    resourceSpans: [
      {
        resource: { attributes: attributes(options.resource) },
        scopeSpans: [
          {
            scope: { name: 'knarr' },
            spans: spans.map((s) => ({
              traceId: s.traceId,
              spanId: s.spanId,
              ...(s.parentSpanId === undefined ? {} : { parentSpanId: s.parentSpanId }),
              name: s.name,
              kind: s.kind,
              startTimeUnixNano: nanos(s.start),
              endTimeUnixNano: nanos(s.end),
              attributes: attributes(s.attributes),
              ...(s.link === undefined ? {} : { links: [{ traceId: s.link.traceId, spanId: s.link.spanId }] }),
              ...(s.error ? { status: { code: 2 } } : {}),
            })),
          },
        ],
      },
    ],
  });
  return {
    export: (spans) =>
      new Promise((resolve, reject) => {
        const call = client.makeUnaryRequest(
          '/opentelemetry.proto.collector.trace.v1.TraceService/Export',
          (value: object) => Buffer.from(type.encode(type.fromObject(value)).finish()),
          (bytes: Buffer) => bytes,
          message(spans),
          (error) => {
            cancel();
            if (error === null) resolve();
            else reject(error);
          },
        );
        const cancel = ioTimer(timeoutMs, () => call.cancel());
      }),
    close: () => client.close(),
  };
}
