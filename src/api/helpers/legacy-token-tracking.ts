/**
 * What the API server and the controller that cleans up legacy service account tokens (KEP-2799) share: the ConfigMap that says
 * since when their use is written down, by days.
 */

/** In kube-system; its key `since` holds a day. */
export const trackingConfigMap = 'kube-apiserver-legacy-service-account-token-tracking';

/** `2006-01-02`, in UTC. */
export function dayOf(ms: number): string {
  return new Date(ms).toISOString().slice(0, 10);
}

export function isDay(text: unknown): text is string {
  return typeof text === 'string' && /^\d{4}-\d{2}-\d{2}$/.test(text) && !Number.isNaN(Date.parse(text));
}
