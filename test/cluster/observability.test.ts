/** What the API server tells of itself over the wire: metrics, health, pages for people, profiles, traces, and how it ends. */
import assert from 'node:assert/strict';
import * as grpc from '@grpc/grpc-js';
import protobuf from 'protobufjs';
import { after, before, test } from 'node:test';
import { silentLogger } from '../../src/base/logger.ts';
import { openRemoteStore } from '../../src/etcd/remote-store.ts';
import { createWorkspace, startApiServer, startStore } from '../support/api-server.ts';
import type { TestStore, Workspace } from '../support/api-server.ts';
import type { Api, Json } from '../support/api.ts';
import { metricsIn as parse, wrongFamilies } from '../support/metrics.ts';
import type { ExpectedFamilies } from '../support/metrics.ts';
import { startTlsServer } from '../support/tls-server.ts';

let work: Workspace;
let etcd: TestStore;

before(async () => {
  work = await createWorkspace();
  etcd = await startStore();
});

after(async () => {
  await etcd[Symbol.asyncDispose]();
  work.dispose();
});

async function until<T>(look: () => T | undefined | Promise<T | undefined>): Promise<T> {
  for (let i = 0; i < 500; i++) {
    const found = await look();
    if (found !== undefined) return found;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error('waited in vain');
}

/** Stable and beta metrics of upstream's API server: type and labels. */
const expected: ExpectedFamilies = {
  apiserver_request_slo_duration_seconds: ['histogram', 'component,group,resource,scope,subresource,verb,version'],
  apiserver_request_body_size_bytes: ['histogram', 'group,resource,verb'],
  apiserver_cache_list_fetched_objects_total: ['counter', 'group,index,resource'],
  apiserver_cache_list_returned_objects_total: ['counter', 'group,resource'],
  apiserver_init_events_total: ['counter', 'group,resource'],
  apiserver_watch_cache_events_dispatched_total: ['counter', 'group,resource'],
  apiserver_watch_cache_consistent_read_total: ['counter', 'fallback,group,resource,success'],
  apiserver_resource_size_estimate_bytes: ['gauge', 'group,resource'],
  apiserver_storage_list_evaluated_objects_total: ['counter', 'group,resource'],
  apiserver_storage_list_returned_objects_total: ['counter', 'group,resource'],
  apiserver_current_inqueue_requests: ['gauge', 'request_kind'],
  apiserver_flowcontrol_request_concurrency_limit: ['gauge', 'priority_level'],
  apiserver_flowcontrol_request_concurrency_in_use: ['gauge', 'flow_schema,priority_level'],
  apiserver_client_certificate_expiration_seconds: ['histogram', ''],
  kube_apiserver_clusterip_allocator_allocated_ips: ['gauge', 'cidr'],
  kube_apiserver_clusterip_allocator_allocation_total: ['counter', 'cidr,scope'],
  rest_client_requests_total: ['counter', 'code,host,method'],
  rest_client_request_duration_seconds: ['histogram', 'host,verb'],
  version_info: ['gauge', 'binary,component,emulation,min_compat'],
  apiserver_admission_controller_admission_duration_seconds: ['histogram', 'name,operation,rejected,type'],
  apiserver_admission_step_admission_duration_seconds: ['histogram', 'operation,rejected,type'],
  apiserver_admission_webhook_admission_duration_seconds: ['histogram', 'name,operation,rejected,type'],
  apiserver_request_filter_duration_seconds: ['histogram', 'filter'],
  apiserver_storage_consistency_checks_total: ['counter', ''],
  apiserver_storage_db_total_size_in_bytes: ['gauge', 'endpoint'],
  apiserver_terminated_watchers_total: ['counter', 'group,resource'],
  etcd_lease_object_counts: ['histogram', ''],
  apiserver_watch_cache_read_wait_seconds: ['histogram', 'group,resource'],
  apiserver_watch_events_sizes: ['histogram', 'group,resource,version'],
  apiserver_audit_event_total: ['counter', ''],
  apiserver_audit_requests_rejected_total: ['counter', ''],
  aggregator_discovery_aggregation_count_total: ['counter', ''],
  aggregator_discovery_nopeer_requests_total: ['counter', ''],
  field_validation_request_duration_seconds: ['histogram', 'field_validation'],
  grpc_client_started_total: ['counter', 'grpc_method,grpc_service,grpc_type'],
  grpc_client_handled_total: ['counter', 'grpc_code,grpc_method,grpc_service,grpc_type'],
  grpc_client_msg_received_total: ['counter', 'grpc_method,grpc_service,grpc_type'],
  grpc_client_msg_sent_total: ['counter', 'grpc_method,grpc_service,grpc_type'],
  kube_apiserver_pod_logs_insecure_backend_total: ['counter', 'usage'],
  kube_apiserver_pod_logs_backend_tls_failure_total: ['counter', ''],
  node_authorizer_graph_actions_duration_seconds: ['histogram', 'operation'],
  apiserver_cel_compilation_duration_seconds: ['histogram', ''],
  apiserver_cel_evaluation_duration_seconds: ['histogram', ''],
  apiserver_current_inflight_requests: ['gauge', 'request_kind'],
  apiserver_flowcontrol_current_executing_requests: ['gauge', 'flow_schema,priority_level'],
  apiserver_flowcontrol_current_executing_seats: ['gauge', 'flow_schema,priority_level'],
  apiserver_flowcontrol_current_inqueue_requests: ['gauge', 'flow_schema,priority_level'],
  apiserver_flowcontrol_dispatched_requests_total: ['counter', 'flow_schema,priority_level'],
  apiserver_flowcontrol_nominal_limit_seats: ['gauge', 'priority_level'],
  apiserver_flowcontrol_request_wait_duration_seconds: ['histogram', 'execute,flow_schema,priority_level'],
  apiserver_longrunning_requests: ['gauge', 'component,group,resource,scope,subresource,verb,version'],
  apiserver_request_duration_seconds: ['histogram', 'component,dry_run,group,resource,scope,subresource,verb,version'],
  apiserver_request_total: [
    'counter',
    'code,component,dry_run,group,resource,scope,subresource,system_client,verb,version',
  ],
  apiserver_requested_deprecated_apis: ['gauge', 'group,removed_release,resource,subresource,version'],
  apiserver_response_sizes: ['histogram', 'component,group,resource,scope,subresource,verb,version'],
  apiserver_storage_events_received_total: ['counter', 'group,resource'],
  apiserver_storage_objects: ['gauge', 'resource'],
  apiserver_storage_size_bytes: ['gauge', 'storage_cluster_id'],
  apiserver_validating_admission_policy_check_duration_seconds: [
    'histogram',
    'enforcement_action,error_type,policy,policy_binding',
  ],
  apiserver_validating_admission_policy_check_total: ['counter', 'enforcement_action,error_type,policy,policy_binding'],
  apiserver_validation_declarative_validation_mismatch_total: ['counter', ''],
  apiserver_validation_declarative_validation_panic_total: ['counter', ''],
  apiserver_watch_list_duration_seconds: ['histogram', 'group,resource,scope,version'],
  disabled_metrics_total: ['counter', ''],
  hidden_metrics_total: ['counter', ''],
  kubernetes_build_info: [
    'gauge',
    'build_date,compiler,git_commit,git_tree_state,git_version,go_version,major,minor,platform',
  ],
  kubernetes_feature_enabled: ['gauge', 'name,stage'],
  registered_metrics_total: ['counter', 'deprecated_version,stability_level'],
  // Without a promise, but looked at by everybody.
  apiserver_registered_watchers: ['gauge', 'group,kind,version'],
  apiserver_request_sli_duration_seconds: ['histogram', 'component,group,resource,scope,subresource,verb,version'],
  apiserver_request_terminations_total: ['counter', 'code,component,group,resource,scope,subresource,verb,version'],
  apiserver_tls_handshake_errors_total: ['counter', ''],
  apiserver_watch_events_total: ['counter', 'group,resource,version'],
  authenticated_user_requests: ['counter', 'username'],
  authentication_attempts: ['counter', 'result'],
  authentication_duration_seconds: ['histogram', 'result'],
  authorization_attempts_total: ['counter', 'result'],
  authorization_duration_seconds: ['histogram', 'result'],
  etcd_request_duration_seconds: ['histogram', 'group,operation,resource'],
  etcd_requests_total: ['counter', 'group,operation,resource'],
  process_cpu_seconds_total: ['counter', ''],
  process_open_fds: ['gauge', ''],
  process_resident_memory_bytes: ['gauge', ''],
  process_start_time_seconds: ['gauge', ''],
};

/** A bit of everything that is measured. */
async function live(api: Api, url: string, caBundle: string): Promise<void> {
  const admission = '/apis/admissionregistration.k8s.io/v1';
  const rules = [{ apiGroups: [''], apiVersions: ['v1'], operations: ['CREATE'], resources: ['configmaps'] }];
  await api.create(`${admission}/validatingwebhookconfigurations`, {
    metadata: { name: 'hook' },
    webhooks: [
      {
        name: 'hook.example.com',
        clientConfig: { url, caBundle },
        rules,
        sideEffects: 'None',
        admissionReviewVersions: ['v1'],
        namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'default' } },
      },
    ],
  });
  await api.create(`${admission}/validatingadmissionpolicies`, {
    metadata: { name: 'policy' },
    spec: { matchConstraints: { resourceRules: rules }, validations: [{ expression: "object.metadata.name != 'no'" }] },
  });
  await api.create(`${admission}/validatingadmissionpolicybindings`, {
    metadata: { name: 'binding' },
    spec: { policyName: 'policy', validationActions: ['Deny'] },
  });
  const maps = '/api/v1/namespaces/default/configmaps';
  await until(async () => {
    const tried = await api.create(`${maps}?dryRun=All`, { metadata: { name: 'no' } });
    return tried.status === 422 ? true : undefined;
  });
  await api.create(maps, { metadata: { name: 'a' }, data: { k: 'v' } });
  const involvedObject = { kind: 'ConfigMap', namespace: 'default', name: 'a' };
  await api.create('/api/v1/namespaces/default/events', { metadata: { name: 'e' }, involvedObject });
  await api.merge(`${maps}/a`, { data: { k: 'w' } });
  await api.apply(`${maps}/b`, { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'b' } });
  await api.request('GET', `${maps}/a`, undefined, { 'user-agent': 'kube-scheduler/v1.36.2' });
  await api.get(maps);
  await api.get('/api/v1/namespaces/default/endpoints');
  await api.get(
    `${maps}?watch=1&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan&timeoutSeconds=1`,
  );
  await api.delete(`${maps}/b`);
}

test('metrics: names, types, labels and levels of upstream', async () => {
  await using hook = await startTlsServer({
    handle(_request, response, body) {
      const { uid } = (JSON.parse(body.toString()) as { request: { uid: string } }).request;
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end(
        JSON.stringify({
          apiVersion: 'admission.k8s.io/v1',
          kind: 'AdmissionReview',
          response: { uid, allowed: true },
        }),
      );
    },
  });
  await using server = await startApiServer(work, etcd);
  const { api } = server;
  await live(api, hook.url, hook.caBundle);
  await server.as('alice').get('/api/v1/nodes');
  await server.as('alice').get('/apis/made.up/v7/namespaces/x/things');
  await api.create('/apis/apiregistration.k8s.io/v1/apiservices', {
    metadata: { name: 'v1.gone.example.com' },
    spec: {
      ...{ group: 'gone.example.com', version: 'v1', groupPriorityMinimum: 100, versionPriority: 10 },
      ...{ service: { namespace: 'default', name: 'gone' }, insecureSkipTLSVerify: true },
    },
  });
  await until(async () => ((await api.get('/apis/gone.example.com/v1/things')).status === 503 ? true : undefined));
  await api.get('/api/v1/namespaces/default/pods/none/log');
  const aggregated = 'application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList';
  await api.request('GET', '/apis', undefined, { accept: aggregated });
  await api.create('/apis/apiextensions.k8s.io/v1/customresourcedefinitions', {
    metadata: { name: 'meters.example.com' },
    spec: {
      group: 'example.com',
      scope: 'Cluster',
      names: { plural: 'meters', kind: 'Meter' },
      versions: [{ name: 'v1', served: true, storage: true, schema: { openAPIV3Schema: { type: 'object' } } }],
    },
  });
  await until(async () => ((await api.get('/apis/example.com/v1/meters')).status === 200 ? true : undefined));
  const answer = await api.get('/metrics');
  assert.equal(answer.headers['content-type'], 'text/plain; version=0.0.4; charset=utf-8; escaping=underscores');
  const metrics = parse(answer.text);
  assert.deepEqual(wrongFamilies(metrics, expected), []);
  assert.match(metrics.get('apiserver_request_total')!.help, /^\[STABLE\] Counter of apiserver requests/);
  assert.match(metrics.get('apiserver_watch_list_duration_seconds')!.help, /^\[BETA\] /);
  assert.match(metrics.get('etcd_request_duration_seconds')!.help, /^\[ALPHA\] /);
  assert.match(
    answer.text,
    /^apiextensions_openapi_v3_regeneration_count\{crd="meters.example.com",group="example.com",reason="add",version="v1"\} 1$/m,
  );
  assert.match(
    answer.text,
    /^apiserver_admission_step_admission_duration_seconds_summary\{operation="CREATE",rejected="false",type="admit",quantile="0.99"\} \d/m,
  );
  assert.match(answer.text, /^apiserver_response_sizes_bucket\{.*,le="1e\+06"\} \d+$/m);
  const total = (labels: Readonly<Record<string, string>>): number =>
    metrics
      .get('apiserver_request_total')!
      .samples.filter((s) => Object.entries(labels).every(([k, v]) => s.labels[k] === v))
      .reduce((sum, s) => sum + s.value, 0);
  assert.equal(total({ resource: 'configmaps', verb: 'POST', dry_run: '', code: '201', scope: 'resource' }), 1);
  assert.ok(total({ resource: 'configmaps', verb: 'POST', dry_run: 'All' }) >= 1);
  assert.equal(total({ resource: 'configmaps', verb: 'APPLY', code: '201' }), 1);
  assert.equal(total({ resource: 'configmaps', verb: 'WATCH' }), 1);
  assert.equal(total({ verb: 'GET', system_client: 'kube-scheduler' }), 1);
  // Who is refused before anything is done for them counts as a decision, and makes no series of names that they chose.
  assert.equal(total({ code: '403' }), 0);
  assert.equal(total({ group: 'made.up' }), 0);
  assert.match(
    answer.text,
    /^apiserver_request_terminations_total\{code="503",component="aggregator",group="gone.example.com",.*verb="LIST",version="v1"\} \d+$/m,
  );
});

test('health: checks by name, verbose, excluded; their outcomes; component statuses', async () => {
  await using server = await startApiServer(work, etcd);
  const { api } = server;
  for (const path of ['/healthz', '/livez', '/readyz']) {
    const plain = await api.get(path);
    assert.equal(plain.text, 'ok');
    assert.equal(plain.headers['content-type'], 'text/plain; charset=utf-8');
    assert.equal(plain.headers['x-content-type-options'], 'nosniff');
    const lines = (await api.get(`${path}?verbose`)).text.split('\n');
    const own = path === '/readyz' ? [] : ['[+]loopback-serving-certificate ok'];
    assert.deepEqual(lines.slice(0, 3 + own.length), ['[+]ping ok', '[+]log ok', ...own, '[+]etcd ok']);
    assert.equal(lines.at(-2), `${path.slice(1)} check passed`);
    assert.ok(lines.includes('[+]poststarthook/rbac/bootstrap-roles ok'));
    assert.equal(lines.includes('[+]shutdown ok'), path === '/readyz');
    assert.equal((await api.get(`${path}/poststarthook/rbac/bootstrap-roles`)).text, 'ok');
    assert.equal((await api.get(`${path}/nothing`)).status, 404);
    const excluded = await api.get(`${path}?verbose&exclude=etcd&exclude=none`);
    assert.match(excluded.text, /^\[\+\]etcd excluded: ok$/m);
    assert.match(excluded.text, /^warn: some health checks cannot be excluded: no matches for "none"$/m);
  }
  const slis = parse((await api.get('/metrics/slis')).text);
  assert.ok(slis.get('kubernetes_healthcheck')!.samples.some((s) => s.labels['name'] === 'etcd' && s.value === 1));
  const statuses = await api.get('/api/v1/componentstatuses');
  assert.deepEqual(statuses.warnings, ['v1 ComponentStatus is deprecated in v1.19+']);
  assert.deepEqual(
    statuses.body.items.map((i: Json) => i.metadata.name),
    ['controller-manager', 'scheduler', 'etcd-0'],
  );
  const table = await api.request('GET', '/api/v1/componentstatuses', undefined, {
    accept: 'application/json;as=Table;v=v1;g=meta.k8s.io',
  });
  assert.deepEqual(table.body.rows[2].cells, ['etcd-0', 'Healthy', 'ok', '']);
  const store = await api.get('/api/v1/componentstatuses/etcd-0');
  assert.deepEqual(store.body.conditions, [{ type: 'Healthy', status: 'True', message: 'ok' }]);
  assert.equal((await api.get('/api/v1/componentstatuses/none')).status, 404);
  const counted = slis.get('kubernetes_healthchecks_total')!.samples[0]!;
  assert.deepEqual(Object.keys(counted.labels).sort(), ['name', 'status', 'type']);
});

test('statusz, flagz, profiles', async () => {
  await using server = await startApiServer(work, etcd, ['--livez-grace-period=30s', '--goaway-chance=0.001']);
  const { api } = server;
  const status = await api.get('/statusz');
  assert.equal(status.headers['content-type'], 'text/plain; charset=utf-8');
  assert.match(
    status.text,
    /^\napiserver statusz\nWarning: This endpoint is not meant to be machine parseable, has no formatting compatibility guarantees and is for debugging purposes only\.\n\nStarted(:|: |=| ) \w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d UTC \d{4}\nUp\1 0 hr \d\d min \d\d sec\nGo version\1 .+\nBinary version\1 1\.36\nEmulation version\1 1\.36\nPaths\1 .*\/livez \/metrics .*\n$/,
  );
  const as = (kind: string, version: string): Record<string, string> => ({
    accept: `application/json;as=${kind};v=${version};g=config.k8s.io`,
  });
  const object = await api.request('GET', '/statusz', undefined, as('Statusz', 'v1beta1'));
  assert.equal(object.body.kind, 'Statusz');
  assert.equal(object.body.apiVersion, 'config.k8s.io/v1beta1');
  assert.equal(object.body.metadata.name, 'apiserver');
  const folders = ['/flagz', '/healthz', '/livez', '/metrics', '/readyz', '/statusz', '/version'];
  assert.deepEqual(object.body.paths, folders);
  const old = await api.request('GET', '/flagz', undefined, as('Flagz', 'v1alpha1'));
  assert.deepEqual(old.warnings, ['This version of the flagz endpoint is deprecated. Please use a newer version.']);
  assert.equal(old.body.flags['goaway-chance'], '0.001');
  assert.equal(old.body.flags['livez-grace-period'], '30s');
  assert.equal(old.body.flags['authorization-mode'], '[Node,RBAC]');
  assert.equal((await api.request('GET', '/flagz', undefined, { accept: 'application/json' })).status, 406);
  assert.match((await api.get('/flagz')).text, /^\napiserver flagz\nWarning: /);
  assert.equal((await server.as('alice').get('/flagz')).status, 403);

  assert.match((await api.get('/debug/pprof/')).text, /heapsnapshot/);
  const profile = await api.get('/debug/pprof/profile?seconds=0.1');
  assert.ok(profile.body.nodes.length > 0 && profile.body.samples.length > 0);
  const heap = await api.get('/debug/pprof/heap?seconds=0');
  assert.ok('head' in heap.body);
  assert.equal((await server.as('alice').get('/debug/pprof/heap')).status, 403);
  await using quiet = await startApiServer(work, etcd, [
    '--profiling=false',
    '--feature-gates=ComponentFlagz=false',
    '--runtime-config=networking.k8s.io/v1beta1=true',
  ]);
  assert.deepEqual((await quiet.api.get('/apis/networking.k8s.io/v1beta1/servicecidrs')).warnings, [
    'networking.k8s.io/v1beta1 ServiceCIDR is deprecated in v1.34+, unavailable in v1.37+',
  ]);
  assert.match(
    (await quiet.api.get('/metrics')).text,
    /^apiserver_requested_deprecated_apis\{group="networking\.k8s\.io",removed_release="1\.37",resource="servicecidrs",.*\} 1$/m,
  );
  assert.equal((await quiet.api.get('/debug/pprof/heap')).status, 404);
  assert.equal((await quiet.api.get('/flagz')).status, 404);
});

test('traces: those the caller asks for, by OTLP', async () => {
  const { root } = protobuf.parse(`syntax = "proto3"; package t;
    message Request { repeated ResourceSpans resource_spans = 1; }
    message ResourceSpans { Resource resource = 1; repeated ScopeSpans scope_spans = 2; }
    message Resource { repeated KeyValue attributes = 1; }
    message ScopeSpans { repeated Span spans = 2; }
    message Span { bytes trace_id = 1; bytes span_id = 2; bytes parent_span_id = 4; string name = 5; int32 kind = 6;
      fixed64 start = 7; fixed64 end = 8; repeated KeyValue attributes = 9; repeated Link links = 13; }
    message Link { bytes trace_id = 1; bytes span_id = 2; }
    message KeyValue { string key = 1; AnyValue value = 2; }
    message AnyValue { string string_value = 1; int64 int_value = 3; }`);
  const type = root.lookupType('t.Request');
  interface Span {
    readonly traceId: string;
    readonly spanId: string;
    readonly parentSpanId?: string;
    readonly name: string;
    readonly start: string;
    readonly end: string;
    readonly attributes: { readonly key: string; readonly value: { stringValue?: string; intValue?: string } }[];
    readonly links?: { readonly traceId: string }[];
  }
  const spans: Span[] = [];
  const collector = new grpc.Server();
  collector.addService(
    {
      Export: {
        path: '/opentelemetry.proto.collector.trace.v1.TraceService/Export',
        requestStream: false,
        responseStream: false,
        requestSerialize: () => Buffer.alloc(0),
        requestDeserialize: (b: Buffer) => type.toObject(type.decode(b), { bytes: String, longs: String }),
        responseSerialize: () => Buffer.alloc(0),
        responseDeserialize: (b: Buffer) => b,
      },
    },
    {
      Export: (
        call: { request: { resourceSpans: { scopeSpans: { spans: Span[] }[] }[] } },
        done: grpc.sendUnaryData<object>,
      ) => {
        for (const r of call.request.resourceSpans) for (const s of r.scopeSpans) spans.push(...s.spans);
        done(null, {});
      },
    } as unknown as grpc.UntypedServiceImplementation,
  );
  const port = await new Promise<number>((resolve, reject) => {
    collector.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    );
  });
  after(() => collector.forceShutdown());
  await using own = await startStore();
  const config = (fields: object): string =>
    work.write('tracing.yaml', { apiVersion: 'apiserver.config.k8s.io/v1', kind: 'TracingConfiguration', ...fields });
  const server = await startApiServer(work, own, [
    `--tracing-config-file=${config({ endpoint: `127.0.0.1:${port}` })}`,
  ]);
  const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
  const path = '/api/v1/namespaces/default/configmaps';
  await server.api.request('POST', path, { metadata: { name: 'traced' } }, { traceparent, 'audit-id': 'the-request' });
  await server.api.get(path);
  await server.as('alice').request('GET', path, undefined, { traceparent });
  // What others are asked for on the way is told of the trace.
  const told: (string | undefined)[] = [];
  await using hook = await startTlsServer({
    handle: (incoming, response, body) => {
      told.push(incoming.headers['traceparent'] as string | undefined);
      const { uid } = (JSON.parse(body.toString()) as { request: { uid: string } }).request;
      response.setHeader('content-type', 'application/json');
      const review = { apiVersion: 'admission.k8s.io/v1', kind: 'AdmissionReview', response: { uid, allowed: true } };
      response.end(JSON.stringify(review));
    },
  });
  await server.api.create('/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations', {
    metadata: { name: 'told' },
    webhooks: [
      {
        name: 'told.example.com',
        clientConfig: { url: hook.url, caBundle: hook.caBundle },
        rules: [{ apiGroups: [''], apiVersions: ['v1'], operations: ['CREATE'], resources: ['configmaps'] }],
        sideEffects: 'None',
        admissionReviewVersions: ['v1'],
      },
    ],
  });
  const asked = await until(async () => {
    await server.api.request('POST', path, { metadata: { generateName: 'told-' } }, { traceparent });
    return told.length === 0 ? undefined : told.at(-1);
  });
  await server.api.request(
    'POST',
    path,
    { metadata: { name: 'unsampled' } },
    { traceparent: `${traceparent.slice(0, -1)}0` },
  );
  const unsampled = told.at(-1)!;
  await server.api.create(path, { metadata: { name: 'untraced' } });
  assert.equal(told.at(-1), undefined);
  await server[Symbol.asyncDispose]();
  const hookSpan = spans.findLast((s) => s.name === 'HTTP POST')!;
  const parent = spans.find((s) => s.spanId === hookSpan.parentSpanId)!;
  assert.equal(parent.name, 'POST /api/v1/namespaces/{:namespace}/configmaps');
  assert.equal(
    asked,
    `00-0af7651916cd43dd8448eb211c80319c-${Buffer.from(hookSpan.spanId, 'base64').toString('hex')}-01`,
  );
  assert.match(unsampled, /^00-0af7651916cd43dd8448eb211c80319c-[0-9a-f]{16}-00$/);
  const hex = (base64: string): string => Buffer.from(base64, 'base64').toString('hex');
  assert.equal(spans.filter((s) => s.name.startsWith('GET ')).length, 0, 'only what the caller asks for is traced');
  const request = spans.find((s) => s.name === 'POST /api/v1/namespaces/{:namespace}/configmaps')!;
  assert.equal(hex(request.traceId), '0af7651916cd43dd8448eb211c80319c');
  assert.equal(hex(request.parentSpanId!), 'b7ad6b7169203331');
  const attributes = Object.fromEntries(
    request.attributes.map((a) => [a.key, a.value.stringValue ?? a.value.intValue]),
  );
  assert.equal(attributes['audit-id'], 'the-request');
  assert.equal(attributes['http.response.status_code'], '201');
  assert.ok(BigInt(request.end) >= BigInt(request.start) && BigInt(request.start) > 10n ** 18n);
  const stored = spans.find((s) => s.name === 'etcdserverpb.KV/Txn')!;
  assert.equal(stored.parentSpanId, request.spanId);

  await assert.rejects(
    startApiServer(work, etcd, [`--tracing-config-file=${config({ samplingRatePerMillion: 2_000_000 })}`]),
    /sampling rate per million must be less than or equal to one million/,
  );
});

test('etcd is told of the trace by the metadata of each call', async () => {
  const etcd = new grpc.Server();
  const heard: grpc.MetadataValue[] = [];
  const pass = { requestStream: false, responseStream: false, requestDeserialize: (b: Buffer) => b } as const;
  const asIs = {
    requestSerialize: (b: Buffer) => b,
    responseSerialize: (b: Buffer) => b,
    responseDeserialize: (b: Buffer) => b,
  };
  etcd.addService({ Range: { path: '/etcdserverpb.KV/Range', ...pass, ...asIs } }, {
    Range: (call: grpc.ServerUnaryCall<Buffer, Buffer>, done: grpc.sendUnaryData<Buffer>) => {
      heard.push(...call.metadata.get('traceparent'));
      done(null, Buffer.alloc(0));
    },
  } as grpc.UntypedServiceImplementation);
  const port = await new Promise<number>((resolve, reject) => {
    etcd.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    );
  });
  const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
  const store = await openRemoteStore({
    endpoints: [`http://127.0.0.1:${port}`],
    logger: silentLogger,
    traceparent: () => traceparent,
  });
  await store.range({ key: '/a' });
  assert.deepEqual(heard, [traceparent]);
  await store.close();
  etcd.forceShutdown();
});

test('the end: readiness first, then what still comes is told to come again', async () => {
  const server = await startApiServer(work, etcd, ['--shutdown-delay-duration=1s', '--shutdown-send-retry-after']);
  const { api } = server;
  assert.equal((await api.get('/readyz')).status, 200);
  const ended = server.stop();
  const ready = await until(async () => {
    const answer = await api.get('/readyz');
    return answer.status === 500 ? answer : undefined;
  });
  assert.match(ready.text, /^\[-\]shutdown failed: reason withheld$/m);
  assert.equal((await api.get('/livez')).status, 200);
  assert.equal((await api.get('/api/v1/namespaces/default')).status, 200);
  await ended;
  api.close();
});

test('limits: bodies, time, and how long a watch lasts', async () => {
  await using own = await startStore();
  await using slow = await startTlsServer({
    handle: (_request, response) => {
      setTimeout(() => response.writeHead(200).end('{}'), 5000).unref();
    },
  });
  await using server = await startApiServer(work, own, ['--request-timeout=1s', '--min-request-timeout=1', '-v=3']);
  const { api } = server;
  const maps = '/api/v1/namespaces/default/configmaps';
  const large = await api.create(maps, { metadata: { name: 'large' }, data: { text: 'x'.repeat(3 * 1024 * 1024) } });
  assert.equal(large.status, 413);
  assert.equal(large.body.reason, 'RequestEntityTooLarge');
  const bad = await api.get(`${maps}?timeout=soon`);
  assert.equal(bad.status, 400);
  assert.match(bad.body.message, /^invalid timeout specified in the request URL/);
  const watch = await api.get(`${maps}?watch=1`);
  assert.equal(watch.status, 200);
  await api.create('/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations', {
    metadata: { name: 'slow' },
    webhooks: [
      {
        name: 'slow.example.com',
        timeoutSeconds: 10,
        clientConfig: { url: slow.url, caBundle: slow.caBundle },
        rules: [{ apiGroups: [''], apiVersions: ['v1'], operations: ['CREATE'], resources: ['configmaps'] }],
        sideEffects: 'None',
        admissionReviewVersions: ['v1'],
      },
    ],
  });
  const late = await until(async () => {
    const answer = await api.create(maps, { metadata: { generateName: 'late-' } });
    return answer.status === 201 ? undefined : answer;
  });
  assert.equal(late.status, 504);
  assert.equal(late.body.reason, 'Timeout');
  const line = server.log.find((r) => r.message === 'HTTP' && r.fields['verb'] === 'WATCH' && r.fields['resp'] === 200);
  assert.equal(line?.fields['URI'], `${maps}?watch=1`);
});

test('browsers: other origins, TLS alone', async () => {
  await using own = await startStore();
  await using server = await startApiServer(work, own, [
    '--cors-allowed-origins=^https://example\\.com(:|$)',
    '--strict-transport-security-directives=max-age=31536000,includeSubDomains',
  ]);
  const { api } = server;
  const ask = (method: string, origin?: string): ReturnType<Api['request']> =>
    api.request(method, '/version', undefined, origin === undefined ? {} : { origin });
  const plain = await ask('GET');
  assert.equal(plain.headers['strict-transport-security'], 'max-age=31536000; includeSubDomains');
  assert.equal('access-control-allow-origin' in plain.headers, false);
  const friend = await ask('GET', 'https://example.com:8443');
  assert.equal(friend.headers['access-control-allow-origin'], 'https://example.com:8443');
  assert.equal(friend.status, 200);
  assert.equal((await ask('OPTIONS', 'https://example.com')).status, 204);
  const stranger = await ask('GET', 'https://example.com.evil.org');
  assert.equal('access-control-allow-origin' in stranger.headers, false);
  await assert.rejects(
    startApiServer(work, own, ['--cors-allowed-origins=example']),
    /regular expression does not pin to start\/end of host in the origin header/,
  );
});
