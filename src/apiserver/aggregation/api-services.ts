/** The APIServices that lead to servers of their own: where those are, how they are spoken to, and whether they answer. */
import type { APIService } from '../../api/types/apiregistration-v1.gen.ts';
import { dialHost, SecureAgent, type SecureTarget } from '../connect/secure-agent.ts';
import type { ServiceAddress, ServiceResolver } from '../connect/service-resolver.ts';
import type { Dialer } from '../dialer.ts';
import type { Registries } from '../registry.ts';

export const apiServiceGroup = 'apiregistration.k8s.io';
export const apiServiceResource = 'apiservices';

/** An aggregated group version. */
export interface RemoteService {
  readonly name: string;
  readonly group: string;
  readonly version: string;
  readonly namespace: string;
  readonly service: string;
  readonly port: number;
  readonly groupPriority: number;
  readonly versionPriority: number;
  /** Its condition says so. */
  readonly available: boolean;
  /** Name that its certificate carries. */
  readonly serverName: string;
  readonly target: SecureTarget;
  readonly agent: SecureAgent;
  /** Where the Service leads. @throws with upstream's text */
  resolve(): ServiceAddress;
}

export interface ApiServicesOptions {
  readonly registries: Registries;
  readonly dialer: Dialer;
  readonly services: ServiceResolver;
  /** PEM of the front-proxy client certificate; shown to aggregated servers. */
  readonly proxyClient: { readonly certificate: string; readonly key: string } | undefined;
}

export function isAvailable(service: APIService): boolean {
  return service.status?.conditions?.some((c) => c.type === 'Available' && c.status === 'True') === true;
}

/** What makes another connection necessary. */
function connectionKey({ spec }: APIService): string {
  return JSON.stringify([spec?.service, spec?.caBundle, spec?.insecureSkipTLSVerify]);
}

export class ApiServices {
  readonly #options: ApiServicesOptions;
  readonly #all = new Map<string, APIService>();
  readonly #remote = new Map<string, RemoteService & { readonly connection: string }>();
  readonly #listeners = new Set<(name: string, service: APIService | undefined) => void>();
  /** By `group/version`; rebuilt with every change. */
  #byVersion = new Map<string, RemoteService>();
  #unfollow: (() => void) | undefined;

  constructor(options: ApiServicesOptions) {
    this.#options = options;
  }

  /** Calls back with each APIService that comes, changes or goes. Before `start`. */
  onChange(listener: (name: string, service: APIService | undefined) => void): void {
    this.#listeners.add(listener);
  }

  async start(): Promise<void> {
    this.#unfollow = await this.#options.registries.follow(apiServiceGroup, apiServiceResource, (type, committed) => {
      const { name } = committed;
      const service = type === 'delete' ? undefined : (committed.object() as unknown as APIService);
      if (service === undefined) this.#all.delete(name);
      else this.#all.set(name, service);
      this.#update(name, service);
      for (const listener of this.#listeners) listener(name, service);
    });
  }

  get(name: string): APIService | undefined {
    return this.#all.get(name);
  }

  /** Every APIService, local ones too. */
  all(): Iterable<APIService> {
    return this.#all.values();
  }

  remotes(): Iterable<RemoteService> {
    return this.#remote.values();
  }

  /** None: requests need not be looked at. */
  get empty(): boolean {
    return this.#byVersion.size === 0;
  }

  /** The server of a group version; undefined when this one serves it. */
  remote(group: string, version: string): RemoteService | undefined {
    return this.#byVersion.get(`${group}/${version}`);
  }

  #update(name: string, service: APIService | undefined): void {
    const old = this.#remote.get(name);
    // The aggregator's own API stays reachable, whatever is registered.
    const remote = service?.spec?.service !== undefined && service.spec.group !== apiServiceGroup;
    if (!remote) {
      old?.agent.destroy();
      this.#remote.delete(name);
    } else {
      const connection = connectionKey(service);
      if (old !== undefined && old.connection !== connection) old.agent.destroy();
      const kept = old?.connection === connection ? old : undefined;
      this.#remote.set(name, { ...this.#describe(service, kept), connection });
    }
    if (old !== undefined || remote)
      this.#byVersion = new Map([...this.#remote.values()].map((r) => [`${r.group}/${r.version}`, r]));
  }

  #describe(apiService: APIService, kept: RemoteService | undefined): RemoteService {
    const { registries: _registries, dialer, services, proxyClient } = this.#options;
    const spec = apiService.spec!;
    const { namespace = '', name = '', port = 443 } = spec.service!;
    const serverName = `${name}.${namespace}.svc`;
    const resolve = (): ServiceAddress => services.resolve(namespace, name, port);
    const target: SecureTarget = kept?.target ?? {
      serverName,
      ...(spec.caBundle === undefined || spec.caBundle === ''
        ? {}
        : { ca: Buffer.from(spec.caBundle, 'base64').toString('latin1') }),
      insecure: spec.insecureSkipTLSVerify === true,
      clientCertificate: proxyClient,
      async dial() {
        const to = resolve();
        return dialHost(dialer, to.host, to.port);
      },
    };
    return {
      name: apiService.metadata.name!,
      group: spec.group ?? '',
      version: spec.version ?? '',
      namespace,
      service: name,
      port,
      groupPriority: spec.groupPriorityMinimum,
      versionPriority: spec.versionPriority,
      available: isAvailable(apiService),
      serverName,
      target,
      agent: kept?.agent ?? new SecureAgent(target),
      resolve,
    };
  }

  close(): void {
    this.#unfollow?.();
    for (const remote of this.#remote.values()) remote.agent.destroy();
  }
}
