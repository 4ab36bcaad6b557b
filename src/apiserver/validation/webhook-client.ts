/** Where a webhook is called: a URL, or a service of the cluster. Shared by admission and conversion webhooks. */
import { invalid, required, type FieldError } from '../../api/field-error.ts';
import { isDNS1123Subdomain, isValidPortNum } from '../../api/names.ts';

export interface WebhookService {
  readonly name?: string;
  readonly namespace?: string;
  readonly path?: string;
  readonly port?: number;
}

const form = '; desired format: https://host[/path]';

/** Go's url.Parse is laxer than WHATWG's: the parts are taken apart by hand. */
export function validateWebhookUrl(text: string, path: string): FieldError[] {
  const parts = /^(?:([a-zA-Z][a-zA-Z0-9+.-]*):)?(?:\/\/([^/?#]*))?([^?#]*)(?:\?([^#]*))?(?:#(.*))?$/s.exec(text);
  const [, scheme = '', authority = '', , query = '', fragment = ''] = parts ?? [];
  const at = authority.lastIndexOf('@');
  const host = authority.slice(at + 1);
  if (text.startsWith(':'))
    return [required(path, `url must be a valid URL: parse ${JSON.stringify(text)}: missing protocol scheme${form}`)];
  const errors: FieldError[] = [];
  if (scheme.toLowerCase() !== 'https')
    errors.push(invalid(path, scheme.toLowerCase(), `'https' is the only allowed URL scheme${form}`));
  if (host === '') errors.push(invalid(path, '', `host must be specified${form}`));
  if (at >= 0) errors.push(invalid(path, authority.slice(0, at), 'user information is not permitted in the URL'));
  if (fragment !== '') errors.push(invalid(path, fragment, 'fragments are not permitted in the URL'));
  if (query !== '') errors.push(invalid(path, query, 'query parameters are not permitted in the URL'));
  return errors;
}

function validateServicePath(text: string, path: string): FieldError[] {
  if (text === '' || text === '/') return [];
  if (text === '//') return [invalid(path, text, 'segment[0] may not be empty')];
  const errors = text.startsWith('/') ? [] : [invalid(path, text, "must start with a '/'")];
  const inner = text.slice(1);
  (inner.endsWith('/') ? inner.slice(0, -1) : inner).split('/').forEach((segment, i) => {
    if (segment === '') errors.push(invalid(path, text, `segment[${i}] may not be empty`));
    else
      for (const message of isDNS1123Subdomain(segment)) errors.push(invalid(path, text, `segment[${i}]: ${message}`));
  });
  return errors;
}

export function validateWebhookService(service: WebhookService, path: string): FieldError[] {
  const { port = 443 } = service;
  const wrongPort = isValidPortNum(port);
  return [
    ...((service.name ?? '') === '' ? [required(`${path}.name`)] : []),
    ...((service.namespace ?? '') === '' ? [required(`${path}.namespace`)] : []),
    ...(wrongPort.length > 0 ? [invalid(`${path}.port`, port, `port is not valid: ${wrongPort.join(', ')}`)] : []),
    ...(service.path === undefined ? [] : validateServicePath(service.path, `${path}.path`)),
  ];
}
