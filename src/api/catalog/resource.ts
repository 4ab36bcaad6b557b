/** What the catalogue knows of one resource: the facts that discovery, storage, tables and the client are driven by. */

export interface SubresourceInfo {
  /** `status`, `scale`, `log`, … */
  readonly name: string;
  /** GVK of the bodies exchanged (scale: autoscaling/v1 Scale). */
  readonly group: string;
  readonly version: string;
  readonly kind: string;
  readonly verbs: readonly string[];
}

export interface ColumnInfo {
  readonly name: string;
  readonly type: string;
  readonly format: string;
  readonly priority: number;
  readonly description?: string;
  /** CRD columns: where the cell comes from. Built-in columns have a cell function instead. */
  readonly jsonPath?: string;
}

export interface ResourceInfo {
  readonly group: string;
  readonly version: string;
  /** Plural, as in the path: `pods`. */
  readonly resource: string;
  readonly singular: string;
  readonly kind: string;
  readonly listKind: string;
  readonly namespaced: boolean;
  readonly verbs: readonly string[];
  /** In discovery, where those are not the ones that are answered. */
  readonly shownVerbs?: readonly string[];
  /** Of custom resources: another one with every change of their schema. */
  readonly schemaDigest?: string;
  /** Told with every answer: this version is deprecated. */
  readonly warning?: string;
  readonly shortNames: readonly string[];
  readonly categories: readonly string[];
  readonly subresources: readonly SubresourceInfo[];
  readonly columns: readonly ColumnInfo[];
  /** Field labels accepted by fieldSelector, beyond nothing: includes metadata.name and metadata.namespace. */
  readonly fieldLabels: readonly string[];
  /** The hub: the version in which objects are stored. */
  readonly storageVersion: string;
  /** The group of the hub, where it is not this one: events.k8s.io Events are stored as core Events. */
  readonly storageGroup?: string;
  /** As discovery publishes it, for built-in resources that are stored. */
  readonly storageVersionHash?: string;
  /** Key prefix below the store's root, e.g. `pods`, `minions`, `services/specs`, `apps`-less `deployments`. */
  readonly keyPrefix: string;
  /** Swagger definition of the kind in this version. */
  readonly definition: string;
  /** True for custom resources. */
  readonly custom: boolean;
  /** Not stored: made of other objects when it is asked for. */
  readonly computed?: true;
}
