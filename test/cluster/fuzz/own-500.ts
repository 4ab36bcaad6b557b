/**
 * The few mistakes of a client that upstream's own API server answers with a 500 without a reason, because the error on the way
 * is a plain one: a path that names no kind, a version that is no number, a binding's target, an object that does not fit the types of an apply, a strategic
 * merge patch without its key or with directives that nobody knows. All others of ours are defects.
 */
const messages: readonly RegExp[] = [
  /failed to create RequestInfo: unable to determine kind and namespace from url, /,
  /resourceVersion: Invalid value: /,
  /target\.(name|kind): (Required|Unsupported) value/,
  /failed to (convert new object|create typed patch object) \(/,
  /list element types are not identical: /,
  /unknown patch type: .* in map: /s,
  /map: .* does not contain declared merge key: /s,
];

/** Whether the text of a 500 (in any encoding, all of which keep the message as it is) is one of upstream's own. */
export const isUpstreamsOwn500 = (text: string): boolean => messages.some((m) => m.test(text));
