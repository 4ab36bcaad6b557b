/** Traces on their way to others: what a request to a webhook, an aggregated server or a node tells of the trace that it is part of. */

/** A request to somebody else that is on its way. */
export interface OutgoingSpan {
  /** The header of that name (W3C Trace Context). */
  readonly traceparent: string;
  /** `status` of the answer; undefined: there was none. */
  end(status: number | undefined): void;
}

export interface OutgoingTrace {
  /** Undefined when what is running is not part of a trace. */
  begin(method: string, url: string): OutgoingSpan | undefined;
}

/** Headers (names and values alternating) with this one in the place of what was there. */
export function withTraceparent(headers: readonly string[], span: OutgoingSpan | undefined): readonly string[] {
  if (span === undefined) return headers;
  const out: string[] = [];
  for (let i = 0; i + 1 < headers.length; i += 2)
    if (headers[i]!.toLowerCase() !== 'traceparent') out.push(headers[i]!, headers[i + 1]!);
  out.push('Traceparent', span.traceparent);
  return out;
}
