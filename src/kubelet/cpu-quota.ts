/** CPU amounts as the kernel has them: shares, and a quota of each period. */

/** The kernel's usual period of processor quotas, in microseconds. */
export const cpuPeriod = 100_000;

/** cgroup shares of a milli-CPU amount; never below the kernel's minimum of 2. */
export function cpuShares(milli: number): number {
  return milli === 0 ? 2 : Math.min(Math.max(Math.floor((milli * 1024) / 1000), 2), 262_144);
}

/** CFS quota of a milli-CPU amount; 0 for none, never below 1 ms. */
export function cpuQuota(milli: number, period: number): number {
  return milli === 0 ? 0 : Math.max(Math.floor((milli * period) / 1000), 1000);
}
