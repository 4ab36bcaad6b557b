/**
 * The Node authorizer: a kubelet (`system:node:NAME` in `system:nodes`) reads what the pods on its node refer to, its own
 * Node, lease and CSINode, and otherwise has the fixed rules of `system:node`. NodeRestriction looks at what it writes.
 */
import type { FeatureGates } from '../../api/features/feature-gates.ts';
import type { AuthorizationAttributes, Authorizer, Decision } from '../context.ts';
import type { UserInfo } from '../request.ts';
import type { NodeGraph, NodeObjectType } from './node-graph.ts';
import { rulesAllow, type PolicyRule } from './rule.ts';

interface Outcome {
  decision: Decision;
  reason: string;
}

const allow: Outcome = Object.freeze({ decision: 'allow', reason: '' });
const none: Outcome = Object.freeze({ decision: 'noOpinion', reason: '' });

function refuse(reason: string): Outcome {
  return { decision: 'noOpinion', reason };
}

const nodeUserPrefix = 'system:node:';

/** The node a user speaks for: undefined when it is no node, empty when it is a node without a name. */
export function nodeIdentity(user: UserInfo): string | undefined {
  if (!user.name.startsWith(nodeUserPrefix) || !user.groups.includes('system:nodes')) return undefined;
  return user.name.slice(nodeUserPrefix.length);
}

/** Does the field selector ask for exactly this value of the field? */
function selects(selector: string | undefined, field: string, value: string): boolean {
  if (selector === undefined || selector === '') return false;
  return selector.split(',').some((term) => term === `${field}=${value}` || term === `${field}==${value}`);
}

export class NodeAuthorizer implements Authorizer {
  readonly #graph: NodeGraph;
  readonly #rules: readonly PolicyRule[];
  readonly #features: FeatureGates;

  /** `rules`: those of the ClusterRole `system:node`. */
  constructor(graph: NodeGraph, rules: readonly PolicyRule[], features: FeatureGates) {
    this.#graph = graph;
    this.#rules = rules;
    this.#features = features;
  }

  authorize(a: AuthorizationAttributes): Outcome {
    const node = nodeIdentity(a.user);
    if (node === undefined) return none;
    if (node === '') return refuse(`unknown node for user ${JSON.stringify(a.user.name)}`);
    if (a.isResourceRequest)
      switch (`${a.group}/${a.resource}`) {
        case '/secrets':
          return this.#readNamespaced(node, 'secret', a);
        case '/configmaps':
          return this.#readNamespaced(node, 'configmap', a);
        case '/persistentvolumeclaims':
          if (a.subresource !== 'status') return this.#get(node, 'pvc', a);
          if (a.verb !== 'update' && a.verb !== 'patch') return refuse('can only get/update/patch this type');
          return this.#related(node, 'pvc', a);
        case '/persistentvolumes':
          return this.#get(node, 'pv', a);
        case 'resource.k8s.io/resourceclaims':
          return this.#get(node, 'resourceclaim', a);
        case 'storage.k8s.io/volumeattachments':
          return this.#get(node, 'volumeattachment', a);
        case '/serviceaccounts':
          return this.#serviceAccount(node, a);
        case 'coordination.k8s.io/leases':
          return this.#lease(node, a);
        case 'storage.k8s.io/csinodes':
          return this.#csiNode(node, a);
        case 'resource.k8s.io/resourceslices':
          return this.#resourceSlice(node, a);
        case '/nodes':
          return this.#node(node, a);
        case '/pods':
          return this.#pod(node, a);
        case 'certificates.k8s.io/podcertificaterequests':
          return this.#features.enabled('PodCertificateRequest') ? this.#certificateRequest(node, a) : none;
      }
    return rulesAllow(this.#rules, a) ? allow : none;
  }

  #related(node: string, type: NodeObjectType, a: AuthorizationAttributes): Outcome {
    if (a.name === '') return refuse('No Object name found');
    return this.#graph.isRelated(node, type, a.namespace, a.name)
      ? allow
      : refuse(`no relationship found between node '${node}' and this object`);
  }

  #get(node: string, type: NodeObjectType, a: AuthorizationAttributes): Outcome {
    if (a.verb !== 'get') return refuse('can only get individual resources of this type');
    if (a.subresource !== '') return refuse('cannot get subresource');
    return this.#related(node, type, a);
  }

  #readNamespaced(node: string, type: NodeObjectType, a: AuthorizationAttributes): Outcome {
    if (a.verb !== 'get' && a.verb !== 'list' && a.verb !== 'watch')
      return refuse('can only read resources of this type');
    if (a.subresource !== '') return refuse('cannot read subresource');
    if (a.namespace === '') return refuse('can only read namespaced object of this type');
    return this.#related(node, type, a);
  }

  #serviceAccount(node: string, a: AuthorizationAttributes): Outcome {
    if (a.verb === 'get' && a.subresource === '') {
      const readable = ['KubeletServiceAccountTokenForCredentialProviders', 'PodCertificateRequest'] as const;
      return readable.some((gate) => this.#features.enabled(gate))
        ? this.#readNamespaced(node, 'serviceaccount', a)
        : refuse('not allowed to get service accounts');
    }
    if (a.verb !== 'create' || a.name === '') return refuse('can only create tokens for individual service accounts');
    if (a.subresource !== 'token') return refuse('can only create token subresource of serviceaccount');
    return this.#related(node, 'serviceaccount', a);
  }

  #lease(node: string, a: AuthorizationAttributes): Outcome {
    if (!['get', 'create', 'update', 'patch', 'delete'].includes(a.verb))
      return refuse('can only get, create, update, patch, or delete a node lease');
    if (a.namespace !== 'kube-node-lease')
      return refuse('can only access leases in the "kube-node-lease" system namespace');
    // The name is not known on create; NodeRestriction checks it.
    if (a.verb !== 'create' && a.name !== node)
      return refuse('can only access node lease with the same name as the requesting node');
    return allow;
  }

  #csiNode(node: string, a: AuthorizationAttributes): Outcome {
    if (!['get', 'create', 'update', 'patch', 'delete'].includes(a.verb))
      return refuse('can only get, create, update, patch, or delete a CSINode');
    if (a.subresource !== '') return refuse('cannot authorize CSINode subresources');
    if (a.verb !== 'create' && a.name !== node)
      return refuse('can only access CSINode with the same name as the requesting node');
    return allow;
  }

  #resourceSlice(node: string, a: AuthorizationAttributes): Outcome {
    if (a.subresource !== '') return refuse('cannot authorize ResourceSlice subresources');
    switch (a.verb) {
      case 'create':
        return allow;
      case 'get':
      case 'update':
      case 'patch':
      case 'delete':
        return this.#related(node, 'resourceslice', a);
      case 'watch':
      case 'list':
      case 'deletecollection':
        return selects(a.fieldSelector, 'spec.nodeName', node)
          ? allow
          : refuse('can only list/watch/deletecollection resourceslices with nodeName field selector');
    }
    return refuse(
      'only the following verbs are allowed for a ResourceSlice: get, watch, list, create, update, patch, delete, deletecollection',
    );
  }

  #certificateRequest(node: string, a: AuthorizationAttributes): Outcome {
    if (a.subresource !== '') return refuse('nodes may not access the status subresource of PodCertificateRequests');
    switch (a.verb) {
      case 'create':
        return allow;
      case 'get':
        return this.#related(node, 'podcertificaterequest', a);
      case 'list':
      case 'watch':
        return selects(a.fieldSelector, 'spec.nodeName', node)
          ? allow
          : refuse('can only list/watch podcertificaterequests with nodeName field selector');
    }
    return refuse(`nodes may not ${a.verb} podcertificaterequests`);
  }

  #node(node: string, a: AuthorizationAttributes): Outcome {
    if (a.subresource === '')
      switch (a.verb) {
        case 'create':
        case 'update':
        case 'patch':
          return allow;
        case 'get':
        case 'list':
        case 'watch':
          if (a.name === node) return allow;
          return a.name === ''
            ? refuse(`node '${node}' cannot read all nodes, only its own Node object`)
            : refuse(`node '${node}' cannot read '${a.name}', only its own Node object`);
      }
    else if (a.subresource === 'status' && (a.verb === 'update' || a.verb === 'patch')) return allow;
    return none;
  }

  #pod(node: string, a: AuthorizationAttributes): Outcome {
    switch (a.subresource) {
      case '':
        switch (a.verb) {
          case 'get':
            return this.#get(node, 'pod', a);
          case 'list':
          case 'watch':
            if (selects(a.fieldSelector, 'spec.nodeName', node)) return allow;
            if (a.name !== '') return this.#related(node, 'pod', a);
            return refuse('can only list/watch pods with spec.nodeName field selector');
          case 'create':
          case 'delete':
            return allow;
        }
        return none;
      case 'status':
        return a.verb === 'update' || a.verb === 'patch' ? allow : none;
      case 'eviction':
        return a.verb === 'create' ? allow : none;
    }
    return none;
  }
}
