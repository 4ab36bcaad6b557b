/**
 * The operations of one resource, independent of the OpenAPI version: paths, methods, ids, actions, parameters, bodies and
 * answers, as upstream's installer publishes them. Two writers turn them into v2 and v3 paths.
 */
import type { ResourceInfo, SubresourceInfo } from '../../api/catalog/resource.ts';
import { customDefinitionName } from '../../api/schema/openapi-custom.ts';

export interface Parameter {
  readonly name: string;
  readonly in: 'query' | 'path';
  readonly type: 'string' | 'boolean' | 'integer';
  readonly description: string;
}

/** What an operation answers: a definition, or a plain string. */
export type Answer = { readonly definition: string } | 'string';

export interface Operation {
  readonly method: 'get' | 'post' | 'put' | 'patch' | 'delete' | 'head' | 'options';
  readonly id: string;
  readonly description: string;
  readonly action: string;
  readonly gvk: { readonly group: string; readonly version: string; readonly kind: string };
  readonly parameters: readonly Parameter[];
  /** Definition of the body; `required` for writes. */
  readonly body?: { readonly definition: string; readonly required: boolean };
  readonly answers: Readonly<Record<string, Answer>>;
  /** `list` and `watch` answers come as streams, too; `connect` is of any type; `log` is also plain text. */
  readonly produces: 'object' | 'stream' | 'any' | 'log';
}

export interface PathOperations {
  readonly path: string;
  readonly operations: readonly Operation[];
}

const meta = 'io.k8s.apimachinery.pkg.apis.meta.v1';

const q = (name: string, type: Parameter['type'], description: string): Parameter => ({
  name,
  in: 'query',
  type,
  description,
});
const p = (name: string, description: string): Parameter => ({ name, in: 'path', type: 'string', description });

const pretty = q('pretty', 'string', "If 'true', the output is indented for people.");
const namespace = p('namespace', 'The namespace of the object.');
const dryRun = q(
  'dryRun',
  'string',
  'With the value All the request runs through every stage, but nothing is persisted.',
);
const fieldManager = q(
  'fieldManager',
  'string',
  'The name of the actor that makes the change, at most 128 printable characters. Required for apply.',
);
const fieldValidation = q(
  'fieldValidation',
  'string',
  'What happens to unknown and duplicate fields: Ignore, Warn (default) or Strict.',
);
const force = q('force', 'boolean', 'An apply takes over fields that other managers own.');

const listParameters: readonly Parameter[] = [
  q(
    'allowWatchBookmarks',
    'boolean',
    'The watch may send events of type BOOKMARK, which tell the resource version reached.',
  ),
  q('continue', 'string', 'The token of the previous page of this list.'),
  q('fieldSelector', 'string', 'Restricts the list of returned objects to those with these field values.'),
  q('labelSelector', 'string', 'Restricts the list of returned objects to those with these labels.'),
  q('limit', 'integer', 'The greatest number of objects in one answer.'),
  q('resourceVersion', 'string', 'Which resource versions the answer may be served from.'),
  q('resourceVersionMatch', 'string', 'How resourceVersion is understood: Exact or NotOlderThan.'),
  q('sendInitialEvents', 'boolean', 'The watch begins with what exists, then a bookmark that marks the end of it.'),
  q('shardSelector', 'string', 'Restricts the list to a part of the objects by a hash of a field.'),
  q('timeoutSeconds', 'integer', 'How long a list or watch may take, whatever happens.'),
  q('watch', 'boolean', 'Watch for changes to the described resources: a stream of them instead of a list.'),
];
const watchOnly = new Set(['allowWatchBookmarks', 'watch']);
const deleteParameters: readonly Parameter[] = [
  dryRun,
  q('gracePeriodSeconds', 'integer', 'Seconds until the object is deleted; 0 deletes at once.'),
  q(
    'ignoreStoreReadErrorWithClusterBreakingPotential',
    'boolean',
    'Deletes an object that can no longer be read from storage.',
  ),
  q('orphanDependents', 'boolean', 'Deprecated: use propagationPolicy.'),
  q('propagationPolicy', 'string', 'What happens to dependents: Orphan, Background or Foreground.'),
];
const collectionParameters = [...listParameters.filter((x) => !watchOnly.has(x.name)), ...deleteParameters].sort(
  (a, b) => (a.name < b.name ? -1 : 1),
);

/** Kinds whose deletion answers with the object instead of a Status. */
const deletedObjectKinds = new Set([
  '/PersistentVolume',
  '/PersistentVolumeClaim',
  '/Pod',
  '/PodTemplate',
  '/ResourceQuota',
  '/Service',
  '/ServiceAccount',
  'resource.k8s.io/DeviceClass',
  'resource.k8s.io/ResourceClaim',
  'resource.k8s.io/ResourceClaimTemplate',
  'resource.k8s.io/ResourceSlice',
  'storage.k8s.io/CSIDriver',
  'storage.k8s.io/CSINode',
  'storage.k8s.io/StorageClass',
  'storage.k8s.io/VolumeAttachment',
  'storage.k8s.io/VolumeAttributesClass',
]);

/** Parameters and options kind of each connection. */
const stdio = (what: string): Parameter[] => [
  q('container', 'string', `The container to ${what}; the only one of the pod when left out.`),
  q('stderr', 'boolean', 'Redirect the standard error stream.'),
  q('stdin', 'boolean', 'Redirect the standard input stream.'),
  q('stdout', 'boolean', 'Redirect the standard output stream.'),
  q('tty', 'boolean', 'Allocate a terminal.'),
];
const proxyPath = q('path', 'string', 'The URL path to use for the proxied request.');
const connections: Readonly<
  Record<string, { parameters: readonly Parameter[]; kind: string; methods: readonly Operation['method'][] }>
> = {
  'pods/exec': {
    kind: 'PodExecOptions',
    parameters: [q('command', 'string', 'The command and its arguments; not run by a shell.'), ...stdio('execute in')],
    methods: ['get', 'post'],
  },
  'pods/attach': { kind: 'PodAttachOptions', parameters: stdio('attach to'), methods: ['get', 'post'] },
  'pods/portforward': {
    kind: 'PodPortForwardOptions',
    parameters: [q('ports', 'integer', 'The ports to forward.')],
    methods: ['get', 'post'],
  },
};
const anyMethod: readonly Operation['method'][] = ['delete', 'get', 'head', 'options', 'patch', 'post', 'put'];
for (const [resource, kind] of [
  ['pods', 'PodProxyOptions'],
  ['services', 'ServiceProxyOptions'],
  ['nodes', 'NodeProxyOptions'],
] as const)
  (connections as Record<string, (typeof connections)[string]>)[`${resource}/proxy`] = {
    kind,
    parameters: [proxyPath],
    methods: anyMethod,
  };

const logParameters: readonly Parameter[] = [
  q('container', 'string', 'The container whose log is streamed; the only one of the pod when left out.'),
  q('follow', 'boolean', 'Follow the log as it grows.'),
  q('insecureSkipTLSVerifyBackend', 'boolean', "Don't verify the certificate of the kubelet."),
  q('limitBytes', 'integer', 'The number of bytes after which the answer ends.'),
  q('previous', 'boolean', 'The log of the container that ran before the present one.'),
  q('sinceSeconds', 'integer', 'Only lines newer than this many seconds.'),
  q('stream', 'string', 'Which stream to read: All, Stdout or Stderr.'),
  q('tailLines', 'integer', 'How many lines from the end of the log.'),
  q('timestamps', 'boolean', 'A timestamp in front of every line.'),
];

const capital = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);

/** `apps`, `rbacAuthorization`, `stableExampleCom`; `core` for the core group. */
export function groupWord(group: string): string {
  if (group === '') return 'core';
  const words = group.replace(/\.k8s\.io$/, '').split('.');
  const camel = words.map((w, i) => (i === 0 ? w : capital(w))).join('');
  return camel.replace(/-(.)/g, (_m, c: string) => c.toUpperCase());
}

/** `AppsV1` of an operation id. */
export function versionWord(group: string, version: string): string {
  return `${capital(groupWord(group))}${capital(version)}`;
}

export function rootPath(group: string, version: string): string {
  return group === '' ? `/api/${version}` : `/apis/${group}/${version}`;
}

/** How definitions of kinds are found. */
export interface Definitions {
  /** The definition of a built-in kind. */
  ofKind(gvk: { group: string; version: string; kind: string }): string | undefined;
}

class ResourceOperations {
  readonly #r: ResourceInfo;
  readonly #definitions: Definitions;
  readonly #gvk: Operation['gvk'];
  readonly #word: string;
  readonly #scope: string;
  readonly #definition: string;
  readonly #listDefinition: string;
  readonly #base: string;

  constructor(r: ResourceInfo, definitions: Definitions) {
    this.#r = r;
    this.#definitions = definitions;
    this.#gvk = { group: r.group, version: r.version, kind: r.kind };
    this.#word = versionWord(r.group, r.version);
    this.#scope = r.namespaced ? 'Namespaced' : '';
    const named = (kind: string): string =>
      r.custom
        ? customDefinitionName({ group: r.group, version: r.version, kind })
        : (definitions.ofKind({ group: r.group, version: r.version, kind }) ?? '');
    this.#definition = r.custom ? named(r.kind) : r.definition;
    this.#listDefinition = named(r.listKind);
    this.#base = `${rootPath(r.group, r.version)}${r.namespaced ? '/namespaces/{namespace}' : ''}/${r.resource}`;
  }

  paths(): PathOperations[] {
    const r = this.#r;
    const out: PathOperations[] = [];
    const can = (verb: string): boolean => r.verbs.includes(verb);
    const inNamespace = r.namespaced ? [namespace] : [];
    const collection: Operation[] = [];
    if (can('list')) collection.push(this.#list(false, inNamespace));
    if (can('create')) collection.push(this.#create(inNamespace));
    if (can('deletecollection')) collection.push(this.#deleteCollection(inNamespace));
    if (collection.length > 0) out.push({ path: this.#base, operations: collection });

    const one = [p('name', `name of the ${r.kind}`), ...inNamespace];
    const item: Operation[] = [];
    if (can('get')) item.push(this.#get(one));
    if (can('update')) item.push(this.#put(one));
    if (can('patch')) item.push(this.#patch(one));
    if (can('delete')) item.push(this.#delete(one));
    if (item.length > 0) out.push({ path: `${this.#base}/{name}`, operations: item });
    for (const s of r.subresources) out.push(...this.#subresource(s, one));

    const root = rootPath(r.group, r.version);
    if (r.namespaced && can('list')) out.push({ path: `${root}/${r.resource}`, operations: [this.#list(true, [])] });
    if (can('watch') && can('list') && !r.custom) {
      const watch = this.#base.replace(root, `${root}/watch`);
      out.push({ path: watch, operations: [this.#watch('List', false, inNamespace)] });
      out.push({ path: `${watch}/{name}`, operations: [this.#watch('', false, one)] });
      if (r.namespaced) out.push({ path: `${root}/watch/${r.resource}`, operations: [this.#watch('List', true, [])] });
    }
    return out;
  }

  #id(verb: string, suffix = ''): string {
    return `${verb}${this.#word}${this.#scope}${this.#r.kind}${suffix}`;
  }

  #list(all: boolean, where: readonly Parameter[]): Operation {
    const kind = this.#r.kind;
    return {
      method: 'get',
      id: all ? `list${this.#word}${kind}ForAllNamespaces` : this.#id('list'),
      description: `list ${this.#r.verbs.includes('watch') ? 'or watch ' : ''}objects of kind ${kind}`,
      action: 'list',
      gvk: this.#gvk,
      parameters: [...listParameters, pretty, ...where],
      answers: { 200: { definition: this.#listDefinition } },
      produces: 'stream',
    };
  }

  #watch(suffix: 'List' | '', all: boolean, where: readonly Parameter[]): Operation {
    const kind = this.#r.kind;
    const what = suffix === '' ? `changes to an object of kind ${kind}` : `individual changes to a list of ${kind}`;
    return {
      method: 'get',
      id: all ? `watch${this.#word}${kind}ListForAllNamespaces` : this.#id('watch', suffix),
      description: `watch ${what}. deprecated: use the 'watch' parameter with a list operation instead${suffix === '' ? ", filtered to a single item with the 'fieldSelector' parameter" : ''}.`,
      action: suffix === '' ? 'watch' : 'watchlist',
      gvk: this.#gvk,
      parameters: [...listParameters, pretty, ...where],
      answers: { 200: { definition: `${meta}.WatchEvent` } },
      produces: 'stream',
    };
  }

  #create(where: readonly Parameter[]): Operation {
    const answer = { definition: this.#definition };
    const article = /^[AEIOU]/.test(this.#r.kind) ? 'an' : 'a';
    return {
      method: 'post',
      id: this.#id('create'),
      description: `create ${article} ${this.#r.kind}`,
      action: 'post',
      gvk: this.#gvk,
      parameters: [dryRun, fieldManager, fieldValidation, pretty, ...where],
      body: { definition: this.#definition, required: true },
      answers: { 200: answer, 201: answer, 202: answer },
      produces: 'object',
    };
  }

  #deleteCollection(where: readonly Parameter[]): Operation {
    return {
      method: 'delete',
      id: `delete${this.#word}Collection${this.#scope}${this.#r.kind}`,
      description: `delete collection of ${this.#r.kind}`,
      action: 'deletecollection',
      gvk: this.#gvk,
      parameters: [...collectionParameters, pretty, ...where],
      ...(this.#r.custom ? {} : { body: { definition: `${meta}.DeleteOptions`, required: false } }),
      answers: { 200: { definition: `${meta}.Status` } },
      produces: 'object',
    };
  }

  #get(where: readonly Parameter[]): Operation {
    return {
      method: 'get',
      id: this.#id('read'),
      description: `read the specified ${this.#r.kind}`,
      action: 'get',
      gvk: this.#gvk,
      parameters: [...(this.#r.custom ? [listParameters[5]!] : []), pretty, ...where],
      answers: { 200: { definition: this.#definition } },
      produces: 'object',
    };
  }

  #put(where: readonly Parameter[]): Operation {
    const answer = { definition: this.#definition };
    return {
      method: 'put',
      id: this.#id('replace'),
      description: `replace the specified ${this.#r.kind}`,
      action: 'put',
      gvk: this.#gvk,
      parameters: [dryRun, fieldManager, fieldValidation, pretty, ...where],
      body: { definition: this.#definition, required: true },
      answers: { 200: answer, 201: answer },
      produces: 'object',
    };
  }

  #patch(where: readonly Parameter[]): Operation {
    const answer = { definition: this.#definition };
    return {
      method: 'patch',
      id: this.#id('patch'),
      description: `partially update the specified ${this.#r.kind}`,
      action: 'patch',
      gvk: this.#gvk,
      parameters: [dryRun, fieldManager, fieldValidation, force, pretty, ...where],
      body: { definition: `${meta}.Patch`, required: true },
      answers: this.#r.custom ? { 200: answer } : { 200: answer, 201: answer },
      produces: 'object',
    };
  }

  #delete(where: readonly Parameter[]): Operation {
    const object = deletedObjectKinds.has(`${this.#r.group}/${this.#r.kind}`);
    const answer = { definition: object ? this.#definition : `${meta}.Status` };
    const article = /^[AEIOU]/.test(this.#r.kind) ? 'an' : 'a';
    return {
      method: 'delete',
      id: this.#id('delete'),
      description: `delete ${article} ${this.#r.kind}`,
      action: 'delete',
      gvk: this.#gvk,
      parameters: [...deleteParameters, pretty, ...where],
      body: { definition: `${meta}.DeleteOptions`, required: false },
      answers: { 200: answer, 202: answer },
      produces: 'object',
    };
  }

  #subresource(s: SubresourceInfo, where: readonly Parameter[]): PathOperations[] {
    const path = `${this.#base}/{name}/${s.name}`;
    const connection = connections[`${this.#r.resource}/${s.name}`];
    if (connection !== undefined && this.#r.group === '') return this.#connection(s, path, connection, where);
    const gvk = { group: s.group, version: s.version, kind: s.kind };
    const definition =
      s.kind === this.#r.kind && s.group === this.#r.group ? this.#definition : (this.#definitions.ofKind(gvk) ?? '');
    const answer: Answer = { definition };
    const suffix = capital(s.name);
    const operations: Operation[] = [];
    for (const verb of s.verbs) {
      const base = { gvk, produces: 'object' as const };
      switch (verb) {
        case 'get':
          if (s.name === 'log')
            operations.push({
              ...base,
              method: 'get',
              id: this.#id('read', suffix),
              description: `read ${s.name} of the specified ${this.#r.kind}`,
              action: 'get',
              parameters: [...logParameters, pretty, ...where],
              answers: { 200: 'string' },
              produces: 'log',
            });
          else
            operations.push({
              ...base,
              method: 'get',
              id: this.#id('read', suffix),
              description: `read ${s.name} of the specified ${this.#r.kind}`,
              action: 'get',
              parameters: [...(this.#r.custom ? [listParameters[5]!] : []), pretty, ...where],
              answers: { 200: answer },
            });
          break;
        case 'create':
          operations.push({
            ...base,
            method: 'post',
            id: this.#id('create', suffix),
            description: `create ${s.name} of ${/^[AEIOU]/.test(this.#r.kind) ? 'an' : 'a'} ${this.#r.kind}`,
            action: 'post',
            parameters: [dryRun, fieldManager, fieldValidation, pretty, ...where],
            body: { definition, required: true },
            answers: { 200: answer, 201: answer, 202: answer },
          });
          break;
        case 'update':
          operations.push({
            ...base,
            method: 'put',
            id: this.#id('replace', suffix),
            description: `replace ${s.name} of the specified ${this.#r.kind}`,
            action: 'put',
            parameters: [dryRun, fieldManager, fieldValidation, pretty, ...where],
            body: { definition, required: true },
            answers: { 200: answer, 201: answer },
          });
          break;
        case 'patch':
          operations.push({
            ...base,
            method: 'patch',
            id: this.#id('patch', suffix),
            description: `partially update ${s.name} of the specified ${this.#r.kind}`,
            action: 'patch',
            parameters: [dryRun, fieldManager, fieldValidation, force, pretty, ...where],
            body: { definition: `${meta}.Patch`, required: true },
            answers: this.#r.custom ? { 200: answer } : { 200: answer, 201: answer },
          });
          break;
      }
    }
    return operations.length === 0 ? [] : [{ path, operations }];
  }

  #connection(
    s: SubresourceInfo,
    path: string,
    connection: (typeof connections)[string],
    where: readonly Parameter[],
  ): PathOperations[] {
    const operations = (suffix: string, more: readonly Parameter[]): Operation[] =>
      connection.methods.map((method) => ({
        method,
        id: `connect${this.#word}${capital(method)}${this.#scope}${this.#r.kind}${capital(s.name)}${suffix}`,
        description: `connect ${method.toUpperCase()} requests to ${s.name} of ${this.#r.kind}`,
        action: 'connect',
        gvk: { group: '', version: 'v1', kind: connection.kind },
        parameters: [...connection.parameters, ...where, ...more],
        answers: { 200: 'string' as const },
        produces: 'any' as const,
      }));
    const out: PathOperations[] = [{ path, operations: operations('', []) }];
    if (s.name === 'proxy')
      out.push({ path: `${path}/{path}`, operations: operations('WithPath', [p('path', 'path to the resource')]) });
    return out;
  }
}

/** Every path of a resource. */
export function resourcePaths(resource: ResourceInfo, definitions: Definitions): PathOperations[] {
  return new ResourceOperations(resource, definitions).paths();
}
