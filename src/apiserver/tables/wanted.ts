/**
 * What the printers of the kinds that there are many of look at, by `group/Kind` of the hub, so that a long table is made without
 * parsing whole objects. A printer that looks at something new has to name it here; a test compares both ways.
 */
import type { Wanted } from '../../api/codec/json-pick.ts';

const metadata = { name: 'all', creationTimestamp: 'all', deletionTimestamp: 'all' } as const;
const containers = { name: 'all', image: 'all' } as const;
const template = { spec: { containers } } as const;
const condition = { type: 'all', status: 'all', reason: 'all' } as const;

const containerStatus = {
  name: 'all',
  restartCount: 'all',
  started: 'all',
  ready: 'all',
  state: { waiting: { reason: 'all' }, running: {}, terminated: { exitCode: 'all', signal: 'all', reason: 'all' } },
  lastState: { terminated: { finishedAt: 'all' } },
} as const;

const wanted: Readonly<Record<string, Wanted>> = {
  '/ConfigMap': { metadata, data: 'keys', binaryData: 'keys' },
  '/Endpoints': { metadata, subsets: { addresses: { ip: 'all' }, ports: { port: 'all' } } },
  '/Event': {
    metadata,
    eventTime: 'all',
    firstTimestamp: 'all',
    lastTimestamp: 'all',
    count: 'all',
    series: 'all',
    involvedObject: { kind: 'all', name: 'all', fieldPath: 'all' },
    source: 'all',
    reportingComponent: 'all',
    reportingInstance: 'all',
    type: 'all',
    reason: 'all',
    message: 'all',
  },
  '/Namespace': { metadata, status: { phase: 'all' } },
  '/Node': {
    metadata: { ...metadata, labels: 'all' },
    spec: { unschedulable: 'all' },
    status: { conditions: condition, addresses: { type: 'all', address: 'all' }, nodeInfo: 'all' },
  },
  '/Pod': {
    metadata,
    spec: {
      containers: {},
      initContainers: { name: 'all', restartPolicy: 'all' },
      nodeName: 'all',
      readinessGates: { conditionType: 'all' },
    },
    status: {
      phase: 'all',
      reason: 'all',
      conditions: condition,
      initContainerStatuses: containerStatus,
      containerStatuses: containerStatus,
      podIPs: { ip: 'all' },
      nominatedNodeName: 'all',
    },
  },
  '/Secret': { metadata, type: 'all', data: 'keys' },
  '/Service': {
    metadata,
    spec: {
      type: 'all',
      clusterIPs: 'all',
      externalIPs: 'all',
      externalName: 'all',
      ports: { port: 'all', nodePort: 'all', protocol: 'all' },
      selector: 'all',
    },
    status: { loadBalancer: { ingress: { ip: 'all', hostname: 'all' } } },
  },
  '/ServiceAccount': { metadata },
  'apps/Deployment': {
    metadata,
    spec: { replicas: 'all', selector: 'all', template },
    status: { readyReplicas: 'all', updatedReplicas: 'all', availableReplicas: 'all' },
  },
  'apps/ReplicaSet': {
    metadata,
    spec: { replicas: 'all', selector: 'all', template },
    status: { replicas: 'all', readyReplicas: 'all' },
  },
  'apps/StatefulSet': {
    metadata,
    spec: { replicas: 'all', template },
    status: { readyReplicas: 'all' },
  },
  'batch/Job': {
    metadata,
    spec: { completions: 'all', parallelism: 'all', selector: 'all', template },
    status: { succeeded: 'all', startTime: 'all', completionTime: 'all', conditions: condition },
  },
  'coordination.k8s.io/Lease': { metadata, spec: { holderIdentity: 'all' } },
  'discovery.k8s.io/EndpointSlice': {
    metadata,
    addressType: 'all',
    ports: { port: 'all', name: 'all' },
    endpoints: { addresses: 'all' },
  },
};

/** Undefined: nobody has said, and the printer gets the whole object. */
export function wantedOf(kind: string): Wanted | undefined {
  return wanted[kind];
}
