/**
 * Makes `src/api/catalog/catalog.json` from the public facts of the Kubernetes API (a folder given as argument): one line
 * of text a definition, one record a resource, no upstream prose. Run it again for the next release:
 *
 *     node scripts/catalog.ts <facts folder>
 *
 * A definition's line lists its fields in the order of the Go struct, which is the order upstream writes them in, divided by
 * `;`. A field is `name number type presence` and then `key=value` words; the grammar is read by
 * `src/api/catalog/definition-text.ts`.
 */
import { writeFileSync } from 'node:fs';
import { readFacts } from './catalog/facts.ts';
import type { PresenceField, ProtoNode } from './catalog/facts.ts';

const facts = process.argv[2];
if (facts === undefined) {
  console.error('usage: node scripts/catalog.ts <facts folder>');
  process.exit(2);
}
const { read, proto, jsonNames, presence, swagger, enums, defaults, discovery, columns, fieldSelectors, v3 } =
  readFacts(facts);

// ---- definitions ----------------------------------------------------------------------------------------------------

const messages = new Map<string, ProtoNode>();
(function collect(node: ProtoNode, path: string): void {
  for (const [name, child] of Object.entries(node.nested ?? {})) {
    const full = path === '' ? name : `${path}.${name}`;
    if (child.fields !== undefined) messages.set(full, child);
    collect(child, full);
  }
})(proto, '');

/** `k8s.io.api.core.v1.Pod` → `io.k8s.api.core.v1.Pod`. */
const definitionOf = (message: string): string =>
  message
    .replace(/^k8s\.io\./, 'io.k8s.')
    .replace('.apiextensions_apiserver.', '.apiextensions-apiserver.')
    .replace('.kube_aggregator.', '.kube-aggregator.');
const messageOf = new Map([...messages.keys()].map((m) => [definitionOf(m), m]));

/** A short name of each package: `core/v1`. */
function aliasOf(pkg: string): string {
  const parts = pkg.split('.');
  const last = parts.at(-1)!;
  if (/^v\d/.test(last)) return `${parts.at(-2)}/${last}`;
  return last;
}
const packageOf = (definition: string): string => definition.slice(0, definition.lastIndexOf('.'));
const localOf = (definition: string): string => definition.slice(definition.lastIndexOf('.') + 1);

const meta = 'io.k8s.apimachinery.pkg.apis.meta.v1';
const crd = 'io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1';

/** Types with an encoding of their own. */
const special: Record<string, string> = {
  'io.k8s.apimachinery.pkg.api.resource.Quantity': 'quantity',
  [`${meta}.Time`]: 'time',
  [`${meta}.MicroTime`]: 'microTime',
  [`${meta}.Duration`]: 'duration',
  'io.k8s.apimachinery.pkg.util.intstr.IntOrString': 'intOrString',
  'io.k8s.apimachinery.pkg.runtime.RawExtension': 'raw',
  [`${meta}.FieldsV1`]: 'fieldsV1',
  [`${meta}.Verbs`]: '[w]string',
  [`${crd}.JSON`]: 'json',
  [`${crd}.JSONSchemaPropsOrArray`]: 'JSONSchemaProps|[]JSONSchemaProps',
  [`${crd}.JSONSchemaPropsOrBool`]: 'JSONSchemaProps|bool',
  [`${crd}.JSONSchemaPropsOrStringArray`]: 'JSONSchemaProps|[]string',
};
const structLike = new Set(['quantity', 'time', 'microTime', 'duration', 'intOrString', 'raw', 'json']);

/** How Go's reflection prints the named types above. */
const goNames: Record<string, string> = {
  quantity: 'resource.Quantity',
  time: 'v1.Time',
  microTime: 'v1.MicroTime',
  duration: 'v1.Duration',
  intOrString: 'intstr.IntOrString',
  raw: 'runtime.RawExtension',
  fieldsV1: 'v1.FieldsV1',
  json: 'v1.JSON',
  string: 'string',
  bool: 'bool',
  int32: 'int32',
  int64: 'int64',
  double: 'float64',
  bytes: '[]uint8',
  'JSONSchemaProps|[]JSONSchemaProps': 'v1.JSONSchemaPropsOrArray',
  'JSONSchemaProps|bool': 'v1.JSONSchemaPropsOrBool',
  'JSONSchemaProps|[]string': 'v1.JSONSchemaPropsOrStringArray',
};

/** A Go type as its source writes it, as reflection prints it. */
function goType(go: string, pkg: string): string {
  const prefix = /^(\*|\[\]|map\[)/.exec(go)?.[0];
  if (prefix === '*') return `*${goType(go.slice(1), pkg)}`;
  if (prefix === '[]') return `[]${goType(go.slice(2), pkg)}`;
  if (prefix === 'map[') {
    const close = go.indexOf(']');
    return `map[${goType(go.slice(4, close), pkg)}]${goType(go.slice(close + 1), pkg)}`;
  }
  const dot = go.indexOf('.');
  if (dot >= 0) {
    const qualifier = go.slice(0, dot);
    const known = ['types', 'resource', 'intstr', 'runtime', 'time', 'ast'].includes(qualifier);
    return known ? go : `v1${go.slice(dot)}`;
  }
  if (/^(string|bool|int32|int64|int|float64)$/.test(go)) return go;
  if (go === 'byte') return 'uint8';
  return `${pkg.split('.').at(-1)}.${go}`;
}

interface OutField {
  name: string;
  number: number;
  within: number[];
  withinNames: string[];
  type: string;
  presence: PresenceField['presence'];
  nullZero: boolean;
  extras: string[];
  default?: unknown;
}
interface OutDefinition {
  definition: string;
  fields: OutField[];
}

function resolveMessage(type: string, from: string): string {
  if (type.startsWith('.')) return type.slice(1);
  for (let scope = from; scope !== ''; scope = scope.slice(0, Math.max(0, scope.lastIndexOf('.')))) {
    const candidate = `${scope}.${type}`;
    if (messages.has(candidate)) return candidate;
  }
  throw new Error(`unresolved protobuf type ${type} in ${from}`);
}

/** The type word of a definition as seen from a package. */
function reference(definition: string, pkg: string): string {
  if (special[definition] !== undefined) return special[definition];
  if (definition.endsWith('.ExtraValue')) return '[w]string';
  return packageOf(definition) === pkg
    ? localOf(definition)
    : `${aliasOf(packageOf(definition))}.${localOf(definition)}`;
}

/** What reflection would print for a type word, when nothing is named. */
function derivedGo(type: string, pkg: string): string {
  if (type.startsWith('[]')) return `[]${derivedGo(type.slice(2), pkg)}`;
  if (type.startsWith('{}')) return `map[string]${derivedGo(type.slice(2), pkg)}`;
  if (type.startsWith('[w]')) return `[]${derivedGo(type.slice(3), pkg)}`;
  if (goNames[type] !== undefined) return goNames[type];
  const dot = type.indexOf('.');
  return dot < 0 ? `${pkg.split('.').at(-1)}.${type}` : `${type.slice(type.indexOf('/') + 1)}`;
}

function typeMetaFields(): OutField[] {
  const field = (name: string): OutField => ({
    name,
    number: 0,
    within: [],
    withinNames: [],
    type: 'string',
    presence: 'omitempty',
    nullZero: false,
    extras: [],
  });
  return [field('kind'), field('apiVersion')];
}

function ruleValues(p: PresenceField | undefined, key: string): string[] {
  return (p?.rules ?? []).filter((r) => r.startsWith(`${key}=`)).map((r) => r.slice(key.length + 1));
}

/** The default that OpenAPI v3 shows, where it is not the zero value of a member that is always written. */
function published(outer: string, name: string, p: PresenceField | undefined): unknown {
  const shown = v3[outer]?.properties?.[name]?.default;
  if (shown === undefined || (typeof shown === 'object' && shown !== null && Object.keys(shown).length === 0)) {
    return undefined;
  }
  const zero = shown === '' || shown === 0 || shown === false;
  return zero && p?.presence === 'always' && !p.go.startsWith('*') ? undefined : shown;
}

/** What both sources know of one field, beside its type: swagger first, as server-side apply and patches do. */
function extrasOf(outer: string, name: string, p: PresenceField | undefined): string[] {
  const property = swagger[outer]?.properties?.[name];
  const extras: string[] = [];
  const required =
    swagger[outer] !== undefined
      ? (swagger[outer].required ?? []).includes(name)
      : p !== undefined && p.optional !== true && p.presence === 'always';
  if (required) extras.push('req');
  const listType = property !== undefined ? property['x-kubernetes-list-type'] : ruleValues(p, 'listType')[0];
  const keys = property !== undefined ? property['x-kubernetes-list-map-keys'] : ruleValues(p, 'listMapKey');
  const mapType = property !== undefined ? property['x-kubernetes-map-type'] : ruleValues(p, 'mapType')[0];
  const strategy = property !== undefined ? property['x-kubernetes-patch-strategy'] : ruleValues(p, 'patchStrategy')[0];
  const mergeKey =
    property !== undefined ? property['x-kubernetes-patch-merge-key'] : ruleValues(p, 'patchMergeKey')[0];
  if (listType !== undefined) extras.push(`list=${listType}`);
  if (keys !== undefined && keys.length > 0) extras.push(`keys=${keys.join(',')}`);
  if (mapType !== undefined) extras.push(`map=${mapType}`);
  const shown = published(outer, name, p);
  if (shown !== undefined) extras.push(`shown=${JSON.stringify(shown)}`);
  if (strategy !== undefined) extras.push(`patch=${strategy}`);
  if (mergeKey !== undefined) extras.push(`mergeKey=${mergeKey}`);
  const allowed = enums[outer]?.[name];
  if (allowed !== undefined) extras.push(`enum=${allowed.join(',').replaceAll(' ', '~')}`);
  return extras;
}

/** Fields of a message in struct order, inlined ones pulled up; `outer` is the definition whose JSON they appear in. */
function fieldsOf(message: string, outer: string, within: number[], withinNames: string[]): OutField[] {
  const node = messages.get(message)!;
  const definition = definitionOf(message);
  const pkg = packageOf(outer);
  const inline = jsonNames.inline[message] ?? [];
  const rename = jsonNames.rename[message] ?? {};
  const out: OutField[] = [];
  for (const [protoName, f] of Object.entries(node.fields ?? {})) {
    if (inline.includes(protoName)) {
      const inlined = resolveMessage(f.type, message);
      out.push(...fieldsOf(inlined, outer, [...within, f.id], [...withinNames, localOf(inlined)]));
      continue;
    }
    const name = rename[protoName] ?? protoName;
    const p = presence.fields[definition]?.[name];
    let type: string;
    if (/^(string|bool|int32|int64|double|bytes)$/.test(f.type)) type = f.type;
    else type = reference(definitionOf(resolveMessage(f.type, message)), pkg);
    if (f.keyType !== undefined) type = `{}${type}`;
    else if (f.rule === 'repeated') type = `[]${type}`;
    const extras = extrasOf(outer, name, p);
    if (p !== undefined) {
      const go = goType(p.go, packageOf(definition)).replace(/^\*/, '');
      if (go !== derivedGo(type, pkg)) extras.push(`go=${go.replaceAll(' ', '')}`);
    }
    // A type of the same shape without field facts (an alias of another version's type) writes as that one does.
    const how = p?.presence ?? 'always';
    out.push({
      name,
      number: f.id,
      within,
      withinNames,
      type,
      presence: how,
      nullZero: how === 'always' && p?.go.startsWith('*') === true,
      extras,
    });
  }
  return out;
}

/** Types without a protobuf message (Table): from the Go types alone. */
function fieldsOfGo(definition: string): OutField[] {
  const pkg = packageOf(definition);
  const word = (go: string): string => {
    if (go.startsWith('*')) return word(go.slice(1));
    if (go.startsWith('[]')) return `[]${word(go.slice(2))}`;
    if (go === 'ast.InterfaceType') return 'any';
    if (go === 'runtime.RawExtension') return 'raw';
    if (/^(string|bool|int32|int64)$/.test(go)) return go;
    if (presence.fields[`${pkg}.${go}`] !== undefined) return go;
    return presence.types[`${pkg}.${go}`]?.go ?? 'string';
  };
  const out: OutField[] = [];
  for (const [name, p] of Object.entries(presence.fields[definition] ?? {})) {
    if (p.presence === 'inline') continue;
    out.push({
      name,
      number: 0,
      within: [],
      withinNames: [],
      type: word(p.go),
      presence: p.presence,
      nullZero: false,
      extras: extrasOf(definition, name, p),
    });
  }
  return out;
}

const tableOrder: Record<string, string[]> = {
  Table: ['metadata', 'columnDefinitions', 'rows'],
  TableColumnDefinition: ['name', 'type', 'format', 'description', 'priority'],
  TableRow: ['cells', 'conditions', 'object'],
  TableRowCondition: ['type', 'status', 'reason', 'message'],
};

const wholePackages = [
  'io.k8s.api.admission.v1',
  'io.k8s.api.apidiscovery.v2',
  'io.k8s.api.apidiscovery.v2beta1',
  'io.k8s.api.core.v1',
  meta,
  'io.k8s.apimachinery.pkg.apis.meta.v1beta1',
  crd,
];
const inlinedOnly = new Set([
  'io.k8s.api.core.v1.VolumeSource',
  'io.k8s.api.core.v1.ProbeHandler',
  'io.k8s.api.core.v1.EphemeralContainerCommon',
  'io.k8s.api.core.v1.PersistentVolumeSource',
  `${meta}.TypeMeta`,
  `${meta}.Timestamp`,
  `${meta}.RootPaths`,
]);

const out = new Map<string, OutDefinition>();
const wanted = new Set(Object.keys(swagger));
for (const definition of Object.keys(presence.fields)) {
  if (wholePackages.includes(packageOf(definition)) && !inlinedOnly.has(definition)) wanted.add(definition);
}
for (const definition of [...wanted].sort()) {
  if (special[definition] !== undefined || definition.endsWith('.version.Info') || definition === `${meta}.Patch`)
    continue;
  const message = messageOf.get(definition);
  const fields = message !== undefined ? fieldsOf(message, definition, [], []) : fieldsOfGo(definition);
  if (message === undefined) {
    const order = tableOrder[localOf(definition)] ?? [];
    fields.sort((a, b) => order.indexOf(a.name) - order.indexOf(b.name));
  }
  const hasTypeMeta =
    Object.keys(presence.fields[definition] ?? {}).some((k) => /^\^(.*\.)?TypeMeta$/.test(k)) &&
    !fields.some((f) => f.name === 'apiVersion' && f.number !== 0);
  out.set(definition, { definition, fields: hasTypeMeta ? [...typeMetaFields(), ...fields] : fields });
}
// An alias type without facts of its own takes them from the type that it stands for.
for (const [alias, original] of [
  ['io.k8s.api.admissionregistration.v1alpha1.MatchCondition', 'io.k8s.api.admissionregistration.v1.MatchCondition'],
] as const) {
  out.set(alias, { definition: alias, fields: out.get(original)!.fields });
}

// ---- defaults -------------------------------------------------------------------------------------------------------

/** Definitions named by a type word. */
function definitionsIn(type: string, pkg: string): string[] {
  return type
    .split('|')
    .map((t) => t.replace(/^(\[\]|\{\}|\[w\])+/, ''))
    .filter((t) => /^[A-Z]/.test(t) || t.includes('/'))
    .map((t) => {
      if (!t.includes('/')) return `${pkg}.${t}`;
      const alias = t.slice(0, t.indexOf('.'));
      const target = [...out.keys()].find((d) => aliasOf(packageOf(d)) === alias);
      return `${packageOf(target!)}.${t.slice(t.indexOf('.') + 1)}`;
    });
}
const users = new Map<string, number>();
for (const { definition, fields } of out.values()) {
  for (const f of fields) {
    for (const d of definitionsIn(f.type, packageOf(definition))) users.set(d, (users.get(d) ?? 0) + 1);
  }
}

const byHand: string[] = [];
const constantWhen = new Set(['unset', 'unset or empty', '0', 'unset or 0', 'parameters set and scope unset']);
for (const [definition, rules] of Object.entries(defaults)) {
  for (const rule of rules) {
    if (rule.featureGate !== undefined) continue;
    const note = `${definition}: ${rule.path} (${rule.when})`;
    if (rule.value === undefined || !constantWhen.has(rule.when) || definition.endsWith('.v1.ConfigMap')) {
      byHand.push(note);
      continue;
    }
    const path = rule.path.replaceAll('[]', '').split('.');
    let at = definition;
    let exclusive = true;
    let field: OutField | undefined;
    for (const [i, segment] of path.entries()) {
      if (segment === '*') continue;
      field = out.get(at)?.fields.find((f) => f.name === segment);
      if (field === undefined) throw new Error(`default for unknown field ${definition} ${rule.path}`);
      if (i === path.length - 1) break;
      // a pointer on the way may be unset, and then the hand-written rule decides whether it is made
      if (field.presence === 'pointer' && rule.when !== 'parameters set and scope unset') exclusive = false;
      at = definitionsIn(field.type, packageOf(at))[0]!;
      if ((users.get(at) ?? 0) > 1 && !(localOf(at).endsWith('Spec') && users.get(at) === 1)) exclusive = false;
    }
    if (!exclusive) {
      byHand.push(note);
      continue;
    }
    field!.default = rule.value;
  }
}

// ---- resources ------------------------------------------------------------------------------------------------------

/** Storage versions that are not the version itself where a resource has one version, nor the newest. */
const storageVersions: Record<string, string> = {
  'certificates.k8s.io/clustertrustbundles': 'v1beta1',
  'certificates.k8s.io/podcertificaterequests': 'v1beta1',
  'coordination.k8s.io/leasecandidates': 'v1beta1',
  'admissionregistration.k8s.io/mutatingadmissionpolicies': 'v1beta1',
  'admissionregistration.k8s.io/mutatingadmissionpolicybindings': 'v1beta1',
  'resource.k8s.io/devicetaintrules': 'v1alpha3',
  'resource.k8s.io/resourcepoolstatusrequests': 'v1alpha3',
  'autoscaling/horizontalpodautoscalers': 'v2',
};
/** Key prefixes below `/registry` that are not the resource's name. */
const keyPrefixes: Record<string, string> = {
  '/replicationcontrollers': 'controllers',
  '/endpoints': 'services/endpoints',
  '/nodes': 'minions',
  '/services': 'services/specs',
  'networking.k8s.io/ingresses': 'ingress',
  'apiextensions.k8s.io/customresourcedefinitions': 'apiextensions.k8s.io/customresourcedefinitions',
  'apiregistration.k8s.io/apiservices': 'apiregistration.k8s.io/apiservices',
};

const byGvk = new Map<string, string>();
for (const [definition, d] of Object.entries(swagger)) {
  for (const gvk of d['x-kubernetes-group-version-kind'] ?? []) {
    const key = `${gvk.group}/${gvk.version}/${gvk.kind}`;
    if (!byGvk.has(key) || !definition.startsWith('io.k8s.apimachinery')) byGvk.set(key, definition);
  }
}

interface Golden {
  resources: { name: string; storageVersionHash?: string }[];
}
const groups = discovery.groups.map((group) => ({
  group: group.name,
  preferred: group.preferredVersion,
  versions: group.versions.map((version) => {
    const golden = read<Golden>(
      `discovery/golden/${group.name === '' ? 'api' : `apis__${group.name}`}__${version.version}.json`,
    );
    return {
      version: version.version,
      enabled: version.enabledByDefault,
      resources: version.resources.map((r) => {
        const key = `${group.name}/${r.name}`;
        const served = group.versions.filter((v) => v.resources.some((x) => x.name === r.name)).map((v) => v.version);
        const definition = byGvk.get(`${group.name}/${version.version}/${r.kind}`);
        if (definition === undefined || !out.has(definition)) throw new Error(`no definition for ${key} ${r.kind}`);
        const selectors = fieldSelectors.kinds.find(
          (k) => k.group === group.name && k.version === version.version && k.kind === r.kind,
        );
        const hash = golden.resources.find((x) => x.name === r.name)?.storageVersionHash;
        return {
          resource: r.name,
          singular: r.singularName,
          kind: r.kind,
          ...(byGvk.has(`${group.name}/${version.version}/${r.kind}List`) ? {} : { noList: true }),
          namespaced: r.namespaced,
          verbs: r.verbs,
          ...(r.shortNames.length > 0 ? { shortNames: r.shortNames } : {}),
          ...(r.categories.length > 0 ? { categories: r.categories } : {}),
          ...(r.subresources.length > 0
            ? {
                subresources: r.subresources.map((s) => ({
                  name: s.name,
                  group: s.group,
                  version: s.version,
                  kind: s.kind,
                  verbs: s.verbs,
                })),
              }
            : {}),
          // Events have the columns of the core ones in both groups.
          columns: (columns[r.kind === 'Event' ? '' : group.name]?.[r.kind] ?? []).map((c) => [
            c.name,
            c.type,
            c.format,
            c.priority,
          ]),
          ...(selectors !== undefined ? { fieldLabels: selectors.labels } : {}),
          storageVersion: storageVersions[key] ?? served[0]!,
          ...(key === 'events.k8s.io/events' ? { storageGroup: '' } : {}),
          keyPrefix: keyPrefixes[key] ?? r.name,
          definition,
          ...(hash !== undefined ? { storageVersionHash: hash } : {}),
        };
      }),
    };
  }),
}));

// ---- output ---------------------------------------------------------------------------------------------------------

const presenceLetter = { pointer: 'p', omitempty: 'o', always: 'a', omitzero: 'z', inline: 'i' } as const;

function line(d: OutDefinition): string {
  const text = d.fields.map((f) => {
    const letter = f.nullZero ? 'n' : presenceLetter[f.presence];
    // omitempty has no effect on a struct
    const words = [
      f.name,
      String(f.number),
      f.type,
      letter === 'o' && structLike.has(f.type) ? 'o' : letter,
      ...f.extras,
    ];
    if (f.within.length > 0) words.push(`in=${f.within.join('.')}:${f.withinNames.join('.')}`);
    if (f.default !== undefined) words.push(`default=${JSON.stringify(f.default)}`);
    if (words.some((w) => /[ ;]/.test(w)))
      throw new Error(`word with a divider in ${d.definition}.${f.name}: ${words.join('|')}`);
    return words.join(' ');
  });
  return text.join(';');
}

const packages: Record<string, string> = {};
const definitions: Record<string, Record<string, string>> = {};
const atomic: string[] = [];
const gvks: Record<string, string> = {};
for (const d of out.values()) {
  const pkg = packageOf(d.definition);
  const alias = aliasOf(pkg);
  if (packages[alias] !== undefined && packages[alias] !== pkg) throw new Error(`two packages named ${alias}`);
  packages[alias] = pkg;
  (definitions[alias] ??= {})[localOf(d.definition)] = line(d);
  const isAtomic =
    swagger[d.definition] !== undefined
      ? swagger[d.definition]!['x-kubernetes-map-type'] === 'atomic'
      : presence.types[d.definition]?.rules?.includes('structType=atomic');
  if (isAtomic === true) atomic.push(`${alias}.${localOf(d.definition)}`);
}
for (const [definition, d] of Object.entries(swagger)) {
  const list = d['x-kubernetes-group-version-kind'] ?? [];
  // meta types (DeleteOptions, Status, WatchEvent) are registered in every group; the reader knows those
  if (definition.startsWith('io.k8s.apimachinery') || !out.has(definition)) continue;
  for (const gvk of list)
    gvks[`${gvk.group}/${gvk.version}/${gvk.kind}`] = `${aliasOf(packageOf(definition))}.${localOf(definition)}`;
}
const unions = Object.fromEntries(
  Object.entries(swagger)
    .filter(([, d]) => d['x-kubernetes-unions'] !== undefined)
    .map(([definition, d]) => [`${aliasOf(packageOf(definition))}.${localOf(definition)}`, d['x-kubernetes-unions']]),
);

const catalog = { release: discovery.release, packages, groups, atomic, unions, kinds: gvks, definitions };
const target = new URL('../src/api/catalog/catalog.json', import.meta.url);
// One definition or resource a line, so that a new release shows as a readable difference.
const rows = (o: Record<string, unknown>): string =>
  Object.entries(o)
    .map(([k, v]) => `${JSON.stringify(k)}:${JSON.stringify(v)}`)
    .join(',\n');
let text = '{\n';
text += `"release":${JSON.stringify(catalog.release)},\n"packages":{\n${rows(packages)}\n},\n"groups":[\n`;
text += groups
  .map(
    (g) =>
      `{"group":${JSON.stringify(g.group)},"preferred":${JSON.stringify(g.preferred)},"versions":[\n${g.versions
        .map(
          (v) =>
            `{"version":${JSON.stringify(v.version)},"enabled":${v.enabled},"resources":[\n${v.resources.map((r) => JSON.stringify(r)).join(',\n')}]}`,
        )
        .join(',\n')}]}`,
  )
  .join(',\n');
text += `],\n"atomic":${JSON.stringify(atomic)},\n"unions":{\n${rows(unions)}\n},\n"kinds":{\n${rows(gvks)}\n},\n"definitions":{\n`;
text += Object.entries(definitions)
  .map(([alias, defs]) => `${JSON.stringify(alias)}:{\n${rows(defs)}\n}`)
  .join(',\n');
text += '\n}}\n';
JSON.parse(text);
writeFileSync(target, text);
console.log(`${out.size} definitions, ${groups.flatMap((g) => g.versions).length} versions, ${text.length} bytes`);
console.log(`defaults to be written by hand:\n  ${byHand.join('\n  ')}`);
