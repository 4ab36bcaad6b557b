/** The Corefile of a cluster that has none of its own: kubeadm's. */

export interface DefaultCorefile {
  readonly domain: string;
  /** Name servers for other names; default those of the machine. */
  readonly upstreams?: readonly string[];
  readonly pods?: 'insecure' | 'verified' | 'disabled';
}

export function defaultCorefile(o: DefaultCorefile): string {
  const upstreams = o.upstreams === undefined || o.upstreams.length === 0 ? ['/etc/resolv.conf'] : o.upstreams;
  return `.:53 {
    errors
    health {
       lameduck 5s
    }
    ready
    kubernetes ${o.domain} in-addr.arpa ip6.arpa {
       pods ${o.pods ?? 'insecure'}
       fallthrough in-addr.arpa ip6.arpa
       ttl 30
    }
    prometheus :9153
    forward . ${upstreams.join(' ')} {
       max_concurrent 1000
    }
    cache 30 {
       disable success ${o.domain}
       disable denial ${o.domain}
    }
    loop
    reload
    loadbalance
}
`;
}
