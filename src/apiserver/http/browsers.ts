/** What browsers are told: which pages of other origins may ask (CORS), and that only TLS will do (HSTS). */
import { RE2JS } from 're2js';
import type { IncomingRequest } from '../request.ts';

const corsHelp =
  "List of allowed origins for CORS, comma separated. An allowed origin can be a regular expression to support subdomain matching. If this list is empty CORS will not be enabled. Please ensure each expression matches the entire hostname by anchoring to the start with '^' or including the '//' prefix, and by anchoring to the end with '$' or including the ':' port separator suffix. Examples of valid expressions are '//example\\.com(:|$)' and '^https://example\\.com(:|$)'";

const corsHeaders: Readonly<Record<string, string>> = {
  'access-control-allow-methods': 'POST, GET, OPTIONS, PUT, DELETE, PATCH',
  'access-control-allow-headers':
    'Content-Type, Content-Length, Accept-Encoding, X-CSRF-Token, Authorization, X-Requested-With, If-Modified-Since',
  'access-control-expose-headers': 'Date',
  'access-control-allow-credentials': 'true',
};

export class BrowserHeaders {
  readonly #origins: readonly RE2JS[];
  readonly #security: Readonly<Record<string, string>>;

  /** @throws {Error} with upstream's message */
  constructor(options: { readonly corsAllowedOrigins: readonly string[]; readonly hstsDirectives: readonly string[] }) {
    const { corsAllowedOrigins, hstsDirectives } = options;
    for (const directive of hstsDirectives) {
      const text = directive.trim();
      if (text === '') throw new Error('empty value in strict-transport-security-directives');
      if (text !== 'includeSubDomains' && text !== 'preload' && !/^max-age=\d+$/.test(text))
        throw new Error(
          '--strict-transport-security-directives invalid, allowed values: max-age=expireTime, includeSubDomains, preload. see https://tools.ietf.org/html/rfc6797#section-6.1 for more information',
        );
    }
    this.#security = hstsDirectives.length === 0 ? {} : { 'strict-transport-security': hstsDirectives.join('; ') };
    const wrong = (why: string): Error =>
      new Error(`--cors-allowed-origins has an invalid regular expression: ${why}, help: ${corsHelp}`);
    this.#origins = corsAllowedOrigins.map((pattern) => {
      if (pattern === '') throw new Error(`empty value in --cors-allowed-origins, help: ${corsHelp}`);
      let compiled: RE2JS;
      try {
        compiled = RE2JS.compile(pattern);
      } catch (error) {
        throw wrong(error instanceof Error ? error.message : String(error));
      }
      if (!/\^|\/\//.test(pattern) || !/[$:]/.test(pattern))
        throw wrong('regular expression does not pin to start/end of host in the origin header');
      return compiled;
    });
  }

  /** The headers of the answer; `preflight`: there is nothing more to answer. */
  of(request: IncomingRequest): { readonly headers: Readonly<Record<string, string>>; readonly preflight: boolean } {
    const { origin } = request.headers;
    if (origin === undefined || !this.#origins.some((pattern) => pattern.matcher(origin).find()))
      return { headers: this.#security, preflight: false };
    return {
      headers: { ...this.#security, 'access-control-allow-origin': origin, ...corsHeaders },
      preflight: request.method === 'OPTIONS',
    };
  }
}
