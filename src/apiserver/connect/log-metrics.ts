/** How logs and streams of pods are used, with upstream's names, the older ones too. */
import { Vector, alsoNamed } from '../metrics/exposition.ts';
import type { Family } from '../metrics/exposition.ts';

export class LogMetrics {
  readonly #usage = new Vector(
    'counter',
    'kube_apiserver_pod_logs_insecure_backend_total',
    'Total number of requests for pods/logs sliced by usage type: enforce_tls, skip_tls_allowed, skip_tls_denied',
  );
  readonly #failures = new Vector(
    'counter',
    'kube_apiserver_pod_logs_backend_tls_failure_total',
    'Total number of requests for pods/logs that failed due to kubelet server TLS verification',
  );
  readonly #failed = this.#failures.series('', () => ({}));

  readonly #streams = new Vector(
    'counter',
    'apiserver_websocket_streaming_requests_total',
    'WebSockets of exec, attach and portforward; all are passed on to the kubelet as they are.',
  );

  readonly families: readonly Family[] = [
    this.#streams,
    this.#failures,
    this.#usage,
    alsoNamed('kube_apiserver_pod_logs_pods_logs_backend_tls_failure_total', this.#failures.help, this.#failures),
    alsoNamed('kube_apiserver_pod_logs_pods_logs_insecure_backend_total', this.#usage.help, this.#usage),
  ];

  /** A WebSocket goes to the kubelet. */
  streamed(subresource: string): void {
    this.#streams.series(subresource, () => ({ proxy_type: 'proxied_to_kubelet', subresource })).inc();
  }

  /** A log is asked for; `insecure`: from a kubelet whatever its certificate. */
  asked(insecure: boolean): void {
    const usage = insecure ? 'skip_tls_allowed' : 'enforce_tls';
    this.#usage.series(usage, () => ({ usage })).inc();
  }

  /** No connection to the kubelet came about. */
  unreachable(message: string): void {
    if (message.includes('x509:')) this.#failed.inc();
  }
}
