/**
 * HorizontalPodAutoscaler autoscaling/v1 ↔ autoscaling/v2 (upstream pkg/apis/autoscaling/v1/conversion.go). What v1 has no
 * field for travels in annotations; v2 never shows them.
 */
import type { KubeObject, ObjectMeta } from '../object.ts';

const prefix = 'autoscaling.alpha.kubernetes.io/';
const metricsAnnotation = `${prefix}metrics`;
const currentMetricsAnnotation = `${prefix}current-metrics`;
const conditionsAnnotation = `${prefix}conditions`;
const behaviorAnnotation = `${prefix}behavior`;
const roundTrip: readonly string[] = [
  metricsAnnotation,
  behaviorAnnotation,
  `${prefix}scale-down-tolerance`,
  `${prefix}scale-up-tolerance`,
  currentMetricsAnnotation,
  conditionsAnnotation,
];
const defaultCpuUtilization = 80;

type Json = Record<string, unknown>;

function record(value: unknown): Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Json) : {};
}

function records(value: unknown): Json[] {
  return Array.isArray(value) ? value.map(record) : [];
}

/** Members that are set, in the order given. */
function members(from: readonly (readonly [string, unknown])[]): Json {
  const out: Json = {};
  for (const [k, v] of from) if (v !== undefined && v !== null) out[k] = v;
  return out;
}

function withoutRoundTrip(meta: ObjectMeta): ObjectMeta {
  const annotations = meta.annotations;
  if (annotations === undefined || !roundTrip.some((k) => Object.hasOwn(annotations, k))) return meta;
  const kept = Object.fromEntries(Object.entries(annotations).filter(([k]) => !roundTrip.includes(k)));
  const { annotations: _dropped, ...rest } = meta;
  return Object.keys(kept).length === 0 ? rest : { ...rest, annotations: kept };
}

function isCpu(metric: Json): boolean {
  return metric['type'] === 'Resource' && record(metric['resource'])['name'] === 'cpu';
}

const camel: Readonly<Record<string, string>> = {
  Resource: 'resource',
  Pods: 'pods',
  Object: 'object',
  External: 'external',
  ContainerResource: 'containerResource',
};

/** One v2 metric as v1 writes it into the annotation: of a spec its `target`, of a status what is `current`, whose value is never left out. */
function metricToV1(metric: Json, side: 'target' | 'current'): Json {
  const out: Json = { type: metric['type'] };
  const none = side === 'current' ? '0' : undefined;
  for (const member of ['object', 'pods', 'resource', 'containerResource', 'external']) {
    const source = metric[member];
    if (source === undefined || source === null) continue;
    const s = record(source);
    const values = record(s[side]);
    const m = record(s['metric']);
    switch (member) {
      case 'object':
        out[member] = members([
          ['target', reference(record(s['describedObject']))],
          ['metricName', m['name'] ?? ''],
          [`${side}Value`, values['value'] ?? '0'],
          ['selector', m['selector']],
          ['averageValue', values['averageValue']],
        ]);
        break;
      case 'pods':
        out[member] = members([
          ['metricName', m['name'] ?? ''],
          [`${side}AverageValue`, values['averageValue'] ?? '0'],
          ['selector', m['selector']],
        ]);
        break;
      case 'resource':
      case 'containerResource':
        out[member] = members([
          ['name', s['name'] ?? ''],
          [`${side}AverageUtilization`, values['averageUtilization']],
          [`${side}AverageValue`, values['averageValue'] ?? none],
          ['container', member === 'containerResource' ? (s['container'] ?? '') : undefined],
        ]);
        break;
      default:
        out[member] = members([
          ['metricName', m['name'] ?? ''],
          ['metricSelector', m['selector']],
          [`${side}Value`, values['value'] ?? none],
          [`${side}AverageValue`, values['averageValue']],
        ]);
    }
  }
  return out;
}

function reference(from: Json): Json {
  return members([
    ['kind', from['kind'] ?? ''],
    ['name', from['name'] ?? ''],
    ['apiVersion', from['apiVersion'] === '' ? undefined : from['apiVersion']],
  ]);
}

function specToV2(metric: Json): Json {
  const out: Json = { type: metric['type'] };
  const member = camel[String(metric['type'])];
  if (member === undefined) return out;
  const s = record(metric[member]);
  const averageValue = s['averageValue'] ?? s['targetAverageValue'];
  switch (member) {
    case 'object': {
      const value = s['targetValue'];
      const zero = value === undefined || value === null || value === '0';
      out[member] = {
        describedObject: reference(record(s['target'])),
        target: members([
          ['type', s['averageValue'] === undefined ? 'Value' : 'AverageValue'],
          ['value', s['averageValue'] !== undefined && zero ? undefined : (value ?? '0')],
          ['averageValue', s['averageValue']],
        ]),
        metric: members([
          ['name', s['metricName'] ?? ''],
          ['selector', s['selector']],
        ]),
      };
      break;
    }
    case 'pods':
      out[member] = {
        metric: members([
          ['name', s['metricName'] ?? ''],
          ['selector', s['selector']],
        ]),
        target: { type: 'AverageValue', averageValue: s['targetAverageValue'] ?? '0' },
      };
      break;
    case 'external':
      out[member] = {
        metric: members([
          ['name', s['metricName'] ?? ''],
          ['selector', s['metricSelector']],
        ]),
        target: members([
          ['type', s['targetValue'] === undefined ? 'AverageValue' : 'Value'],
          ['value', s['targetValue']],
          ['averageValue', s['targetAverageValue']],
        ]),
      };
      break;
    default:
      out[member] = members([
        ['name', s['name'] ?? ''],
        [
          'target',
          members([
            ['type', s['targetAverageUtilization'] === undefined ? 'AverageValue' : 'Utilization'],
            ['averageValue', averageValue],
            ['averageUtilization', s['targetAverageUtilization']],
          ]),
        ],
        ['container', s['container']],
      ]);
  }
  return out;
}

function statusToV2(metric: Json): Json {
  const out: Json = { type: metric['type'] };
  const member = camel[String(metric['type'])];
  if (member === undefined) return out;
  const s = record(metric[member]);
  switch (member) {
    case 'object':
      out[member] = {
        metric: members([
          ['name', s['metricName'] ?? ''],
          ['selector', s['selector']],
        ]),
        current: members([
          ['value', s['currentValue'] ?? '0'],
          ['averageValue', s['averageValue']],
        ]),
        describedObject: reference(record(s['target'])),
      };
      break;
    case 'pods':
      out[member] = {
        metric: members([
          ['name', s['metricName'] ?? ''],
          ['selector', s['selector']],
        ]),
        current: { averageValue: s['currentAverageValue'] ?? '0' },
      };
      break;
    case 'external':
      out[member] = {
        metric: members([
          ['name', s['metricName'] ?? ''],
          ['selector', s['metricSelector']],
        ]),
        current: members([
          ['value', s['currentValue'] ?? '0'],
          ['averageValue', s['currentAverageValue']],
        ]),
      };
      break;
    default:
      out[member] = members([
        ['name', s['name'] ?? ''],
        [
          'current',
          members([
            ['averageValue', s['currentAverageValue'] ?? '0'],
            ['averageUtilization', s['currentAverageUtilization']],
          ]),
        ],
        ['container', s['container']],
      ]);
  }
  return out;
}

/** The behavior annotation holds Go's internal struct: capitalized members, nulls written. */
function behaviorToAnnotation(behavior: Json): string {
  const rules = (value: unknown): unknown => {
    if (value === undefined || value === null) return null;
    const r = record(value);
    return {
      StabilizationWindowSeconds: r['stabilizationWindowSeconds'] ?? null,
      SelectPolicy: r['selectPolicy'] ?? null,
      Policies: Array.isArray(r['policies'])
        ? records(r['policies']).map((p) => ({
            Type: p['type'] ?? '',
            Value: p['value'] ?? 0,
            PeriodSeconds: p['periodSeconds'] ?? 0,
          }))
        : null,
      Tolerance: r['tolerance'] ?? null,
    };
  };
  return JSON.stringify({ ScaleUp: rules(behavior['scaleUp']), ScaleDown: rules(behavior['scaleDown']) });
}

/** Go reads member names without regard to case. */
function anyCase(from: Json, name: string): unknown {
  if (from[name] !== undefined) return from[name];
  for (const k in from) if (k.toLowerCase() === name.toLowerCase()) return from[k];
  return undefined;
}

function behaviorFromAnnotation(text: string): Json | undefined {
  const all = parsed(text);
  if (all === undefined || Array.isArray(all)) return undefined;
  const rules = (value: unknown): Json | undefined => {
    if (value === undefined || value === null) return undefined;
    const r = record(value);
    const policies = anyCase(r, 'policies');
    return members([
      ['stabilizationWindowSeconds', anyCase(r, 'stabilizationWindowSeconds')],
      ['selectPolicy', anyCase(r, 'selectPolicy')],
      [
        'policies',
        Array.isArray(policies)
          ? records(policies).map((p) => ({
              type: anyCase(p, 'type') ?? '',
              value: anyCase(p, 'value') ?? 0,
              periodSeconds: anyCase(p, 'periodSeconds') ?? 0,
            }))
          : undefined,
      ],
      ['tolerance', anyCase(r, 'tolerance')],
    ]);
  };
  const out = members([
    ['scaleUp', rules(anyCase(record(all), 'scaleUp'))],
    ['scaleDown', rules(anyCase(record(all), 'scaleDown'))],
  ]);
  return Object.keys(out).length === 0 ? undefined : out;
}

/** What does not parse is ignored, as upstream does. */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

export function autoscalingV2ToV1(hpa: KubeObject): KubeObject {
  const spec = record(hpa['spec']);
  const status = record(hpa['status']);
  const metrics = records(spec['metrics']);
  const isTarget = (m: Json): boolean =>
    isCpu(m) && record(record(m['resource'])['target'])['averageUtilization'] !== undefined;
  const target = metrics.find(isTarget);
  const others = metrics.filter((m) => !isTarget(m)).map((m) => metricToV1(m, 'target'));
  const currentMetrics = records(status['currentMetrics']);
  const conditions = records(status['conditions']);
  let currentUtilization: unknown;
  for (const m of currentMetrics) {
    if (isCpu(m)) {
      currentUtilization = record(record(m['resource'])['current'])['averageUtilization'] ?? currentUtilization;
    }
  }
  const added: Record<string, string> = {};
  if (others.length > 0) added[metricsAnnotation] = JSON.stringify(others);
  if (currentMetrics.length > 0)
    added[currentMetricsAnnotation] = JSON.stringify(currentMetrics.map((m) => metricToV1(m, 'current')));
  if (spec['behavior'] !== undefined && spec['behavior'] !== null) {
    added[behaviorAnnotation] = behaviorToAnnotation(record(spec['behavior']));
  }
  if (conditions.length > 0) added[conditionsAnnotation] = JSON.stringify(conditions);
  const metadata = withoutRoundTrip(hpa.metadata);
  return {
    kind: 'HorizontalPodAutoscaler',
    apiVersion: 'autoscaling/v1',
    metadata:
      Object.keys(added).length === 0
        ? metadata
        : { ...metadata, annotations: sortedMap({ ...metadata.annotations, ...added }) },
    spec: members([
      ['scaleTargetRef', reference(record(spec['scaleTargetRef']))],
      ['minReplicas', spec['minReplicas']],
      ['maxReplicas', spec['maxReplicas'] ?? 0],
      ['targetCPUUtilizationPercentage', target && record(record(target['resource'])['target'])['averageUtilization']],
    ]),
    status: members([
      ['observedGeneration', status['observedGeneration']],
      ['lastScaleTime', status['lastScaleTime']],
      ['currentReplicas', status['currentReplicas'] ?? 0],
      ['desiredReplicas', status['desiredReplicas'] ?? 0],
      ['currentCPUUtilizationPercentage', currentUtilization],
    ]),
  };
}

function sortedMap(map: Record<string, string>): Record<string, string> {
  return Object.fromEntries(Object.entries(map).sort(([a], [b]) => (a < b ? -1 : 1)));
}

function cpuUtilization(averageUtilization: unknown): Json {
  return { type: 'Resource', resource: { name: 'cpu', target: { type: 'Utilization', averageUtilization } } };
}

export function autoscalingV1ToV2(hpa: KubeObject): KubeObject {
  const spec = record(hpa['spec']);
  const status = record(hpa['status']);
  const annotations = hpa.metadata.annotations ?? {};
  let metrics: Json[] = [];
  const percentage = spec['targetCPUUtilizationPercentage'];
  if (percentage !== undefined && percentage !== null) metrics = [cpuUtilization(percentage)];
  const otherText = annotations[metricsAnnotation];
  const others = otherText === undefined ? undefined : parsed(otherText);
  if (Array.isArray(others)) metrics = [...records(others).map(specToV2), ...metrics];
  // v1 had an implicit default in the controller; it is made explicit here, where all metrics are known.
  if (metrics.length === 0) metrics = [cpuUtilization(defaultCpuUtilization)];
  const behaviorText = annotations[behaviorAnnotation];
  const behavior = behaviorText === undefined ? undefined : behaviorFromAnnotation(behaviorText);
  let currentMetrics: Json[] | undefined;
  const current = status['currentCPUUtilizationPercentage'];
  if (current !== undefined && current !== null) {
    currentMetrics = [{ type: 'Resource', resource: { name: 'cpu', current: { averageUtilization: current } } }];
  }
  const currentText = annotations[currentMetricsAnnotation];
  const stored = currentText === undefined ? undefined : parsed(currentText);
  if (Array.isArray(stored)) currentMetrics = records(stored).map(statusToV2);
  const conditionsText = annotations[conditionsAnnotation];
  const conditions = conditionsText === undefined ? undefined : parsed(conditionsText);
  return {
    kind: 'HorizontalPodAutoscaler',
    apiVersion: 'autoscaling/v2',
    metadata: withoutRoundTrip(hpa.metadata),
    spec: members([
      ['scaleTargetRef', reference(record(spec['scaleTargetRef']))],
      ['minReplicas', spec['minReplicas']],
      ['maxReplicas', spec['maxReplicas'] ?? 0],
      ['metrics', metrics],
      ['behavior', behavior],
    ]),
    status: {
      ...members([
        ['observedGeneration', status['observedGeneration']],
        ['lastScaleTime', status['lastScaleTime']],
        ['currentReplicas', status['currentReplicas'] ?? 0],
        ['desiredReplicas', status['desiredReplicas'] ?? 0],
      ]),
      currentMetrics: currentMetrics ?? null,
      ...(Array.isArray(conditions) ? { conditions } : {}),
    },
  };
}
