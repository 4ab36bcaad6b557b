/** `knarr kube-apiserver` */
import type { Flag } from '../flags.ts';
import { auditFlags, auditValues } from './audit-flags.ts';
import { servingFlags, tlsValues } from './serving-flags.ts';
import { componentCommand } from './component.ts';
import { apiChoice, apiFlags } from './api-flags.ts';
import { securityFlags, securityValues } from './security-flags.ts';

const file = (name: string, help: string): Flag => ({ name, kind: 'string', value: 'FILE', help });
const list = (name: string, value: string, preset: readonly string[], help: string): Flag => ({
  name,
  kind: 'list',
  value,
  help,
  ...(preset.length === 0 ? {} : { default: preset }),
});

export const apiServerCommand = componentCommand({
  name: 'kube-apiserver',
  summary: 'the API server',
  description:
    'Serves the Kubernetes API over TLS, from an etcd cluster ("knarr etcd" is one). It keeps nothing itself: several can run on the same etcd.',
  flags: [
    { name: 'etcd-servers', kind: 'list', value: 'URL,…', help: 'the etcd cluster' },
    file('etcd-cafile', "authority of etcd's certificate"),
    file('etcd-certfile', 'client certificate for etcd'),
    file('etcd-keyfile', 'its key'),
    {
      name: 'etcd-compaction-interval',
      kind: 'duration',
      default: 300_000,
      help: 'time between two compactions of etcd; 0: somebody else compacts it',
    },
    { name: 'bind-address', kind: 'string', value: 'ADDRESS', default: '0.0.0.0', help: 'where to serve' },
    { name: 'secure-port', kind: 'int', default: 6443, help: 'port; 0 picks a free one' },
    {
      name: 'advertise-address',
      kind: 'string',
      value: 'ADDRESS',
      help: 'the address that the kubernetes Service leads to (default: the one served on)',
    },
    file('tls-cert-file', 'serving certificate; self-signed when left out'),
    file('tls-private-key-file', 'its key'),
    ...servingFlags,
    file('client-ca-file', 'authorities of client certificates'),
    file('requestheader-client-ca-file', 'authorities of authenticating proxies'),
    list('requestheader-allowed-names', 'NAME,…', [], 'names of proxies that may speak for others; all when left out'),
    list('requestheader-username-headers', 'HEADER,…', ['X-Remote-User'], 'who asks'),
    list('requestheader-uid-headers', 'HEADER,…', ['X-Remote-Uid'], 'their unique id'),
    list('requestheader-group-headers', 'HEADER,…', ['X-Remote-Group'], 'their groups'),
    list('requestheader-extra-headers-prefix', 'PREFIX,…', ['X-Remote-Extra-'], 'more about them'),
    file('proxy-client-cert-file', 'shown to aggregated API servers'),
    file('proxy-client-key-file', 'its key'),
    ...securityFlags({ modes: ['AlwaysAllow'] }),
    file('service-account-signing-key-file', 'key that signs tokens'),
    {
      name: 'service-cluster-ip-range',
      kind: 'list',
      value: 'CIDR',
      default: ['10.0.0.0/24'],
      help: 'range of the cluster IPs of Services',
    },
    {
      name: 'service-node-port-range',
      kind: 'string',
      value: 'A-B',
      default: '30000-32767',
      help: 'range of the node ports of Services',
    },
    {
      name: 'enable-bootstrap-token-auth',
      kind: 'bool',
      default: false,
      help: 'take bootstrap tokens of kube-system as logins',
    },
    { name: 'enable-admission-plugins', kind: 'list', value: 'NAME,…', help: 'admission plugins besides the default' },
    { name: 'disable-admission-plugins', kind: 'list', value: 'NAME,…', help: 'admission plugins to leave out' },
    file('admission-control-config-file', 'AdmissionConfiguration: what admission plugins are told'),
    {
      name: 'enable-aggregator-routing',
      kind: 'bool',
      default: false,
      help: 'webhooks and aggregated servers are reached by endpoints instead of cluster IPs',
    },
    file('kubelet-client-certificate', 'shown to kubelets'),
    file('kubelet-client-key', 'its key'),
    file('kubelet-certificate-authority', "authority of the kubelets' certificates; any is taken when left out"),
    ...apiFlags,
    { name: 'event-ttl', kind: 'duration', default: 3_600_000, help: 'how long Events are kept' },
    { name: 'request-timeout', kind: 'duration', default: 60_000, help: 'how long a request may take' },
    { name: 'max-requests-inflight', kind: 'int', default: 400, help: 'reading requests at a time' },
    { name: 'max-mutating-requests-inflight', kind: 'int', default: 200, help: 'writing requests at a time' },
    {
      name: 'enable-priority-and-fairness',
      kind: 'bool',
      default: true,
      help: 'the two limits together are shared by priority levels, and requests wait in fair queues',
    },
    ...auditFlags,
    file('encryption-provider-config', 'EncryptionConfiguration: how which resources are encrypted in the store'),
    {
      name: 'encryption-provider-config-automatic-reload',
      kind: 'bool',
      default: false,
      help: 'take a changed encryption configuration without a restart',
    },
  ],
  examples: [
    [
      'knarr kube-apiserver --etcd-servers http://127.0.0.1:2379 --service-account-issuer https://kubernetes.default.svc --service-account-signing-key-file pki/sa.key',
      'the least it needs: no certificates, no authorization',
    ],
    [
      'knarr kube-apiserver … --client-ca-file pki/ca.crt --tls-cert-file pki/apiserver.crt --tls-private-key-file pki/apiserver.key --authorization-mode Node,RBAC --enable-admission-plugins NodeRestriction',
      'with the files of "knarr certificates"',
    ],
  ],
  async run(v, env) {
    const { runApiServer } = await import('../../cluster/processes/kube-apiserver.ts');
    await runApiServer(
      {
        etcdServers: v.list('etcd-servers'),
        etcdCaFile: v.string('etcd-cafile'),
        etcdCertFile: v.string('etcd-certfile'),
        etcdKeyFile: v.string('etcd-keyfile'),
        etcdCompactionIntervalMs: v.ms('etcd-compaction-interval'),
        bindAddress: v.text('bind-address'),
        securePort: v.port('secure-port'),
        advertiseAddress: v.string('advertise-address'),
        tlsCertFile: v.string('tls-cert-file'),
        tlsPrivateKeyFile: v.string('tls-private-key-file'),
        clientCaFile: v.string('client-ca-file'),
        requestheaderClientCaFile: v.string('requestheader-client-ca-file'),
        requestheaderAllowedNames: v.list('requestheader-allowed-names'),
        requestheaderUsernameHeaders: v.list('requestheader-username-headers'),
        requestheaderUidHeaders: v.list('requestheader-uid-headers'),
        requestheaderGroupHeaders: v.list('requestheader-group-headers'),
        requestheaderExtraHeadersPrefix: v.list('requestheader-extra-headers-prefix'),
        proxyClientCertFile: v.string('proxy-client-cert-file'),
        proxyClientKeyFile: v.string('proxy-client-key-file'),
        serviceAccountSigningKeyFile: v.string('service-account-signing-key-file'),
        serviceClusterIpRange: v.list('service-cluster-ip-range'),
        serviceNodePortRange: v.text('service-node-port-range'),
        enableBootstrapTokenAuth: v.bool('enable-bootstrap-token-auth'),
        enableAdmissionPlugins: v.list('enable-admission-plugins'),
        disableAdmissionPlugins: v.list('disable-admission-plugins'),
        admissionControlConfigFile: v.string('admission-control-config-file'),
        enableAggregatorRouting: v.bool('enable-aggregator-routing'),
        kubeletClientCertificate: v.string('kubelet-client-certificate'),
        kubeletClientKey: v.string('kubelet-client-key'),
        kubeletCertificateAuthority: v.string('kubelet-certificate-authority'),
        apis: apiChoice(v),
        eventTtlMs: v.ms('event-ttl'),
        requestTimeoutMs: v.ms('request-timeout'),
        maxRequestsInflight: v.int('max-requests-inflight'),
        maxMutatingRequestsInflight: v.int('max-mutating-requests-inflight'),
        priorityAndFairness: v.bool('enable-priority-and-fairness'),
        tls: tlsValues(v),
        audit: auditValues(v),
        security: securityValues(v),
        encryption: {
          providerConfig: v.string('encryption-provider-config'),
          automaticReload: v.bool('encryption-provider-config-automatic-reload'),
        },
      },
      env,
    );
  },
});
