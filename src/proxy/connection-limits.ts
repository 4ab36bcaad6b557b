/** Limits and timeouts of connection tracking, as kube-proxy sets them when it starts (`--conntrack-*`). */
import type { Logger } from '../base/logger.ts';
import type { ProxyHost } from './host/proxy-host.ts';

export interface ConnectionLimits {
  /** Connections a processor; 0 leaves the limit as it is. */
  readonly maxPerCore: number;
  readonly min: number;
  /** Milliseconds; 0 leaves it as it is. */
  readonly tcpEstablishedTimeout: number;
  readonly tcpCloseWaitTimeout: number;
  readonly tcpBeLiberal: boolean;
  readonly udpTimeout: number;
  readonly udpStreamTimeout: number;
}

/**
 * What a machine is given that somebody starts as a whole node: upstream's timeouts. A connection of which one end is closed outlives
 * a minute of silence; the size of the machine's table stays as it is.
 */
export const nodeConnections: ConnectionLimits = {
  maxPerCore: 0,
  min: 0,
  tcpEstablishedTimeout: 86_400_000,
  tcpCloseWaitTimeout: 3_600_000,
  tcpBeLiberal: false,
  udpTimeout: 0,
  udpStreamTimeout: 0,
};

/** Upstream's cap, for machines with many processors. */
const most = 1_048_576;

/** Writes what is not so already. What cannot be set is logged: in a network namespace of its own some of it belongs to the machine. */
export async function setConnectionLimits(host: ProxyHost, limits: ConnectionLimits, logger: Logger): Promise<void> {
  const wanted: [string, number][] = [];
  if (limits.maxPerCore > 0)
    wanted.push(['max', Math.min(Math.max(limits.maxPerCore * host.processors(), limits.min), most)]);
  const seconds = (name: string, ms: number): void => {
    if (ms > 0) wanted.push([name, Math.floor(ms / 1000)]);
  };
  seconds('tcp_timeout_established', limits.tcpEstablishedTimeout);
  seconds('tcp_timeout_close_wait', limits.tcpCloseWaitTimeout);
  if (limits.tcpBeLiberal) wanted.push(['tcp_be_liberal', 1]);
  seconds('udp_timeout', limits.udpTimeout);
  seconds('udp_timeout_stream', limits.udpStreamTimeout);
  for (const [name, value] of wanted) {
    const path = `net/netfilter/nf_conntrack_${name}`;
    try {
      const now = await host.sysctl(path);
      if (now === undefined) logger.info('the kernel has no such setting', { setting: path });
      else if (now !== String(value)) {
        await host.setSysctl(path, String(value));
        logger.info('set', { setting: path, value });
      }
    } catch (error) {
      logger.warn('could not set a limit of connection tracking', { setting: path, error });
    }
  }
}
