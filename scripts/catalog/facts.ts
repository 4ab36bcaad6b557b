/** The public facts of the Kubernetes API as their folder has them: what each file holds, as far as the catalogue is made of it. */
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';

interface ProtoField {
  type: string;
  id: number;
  rule?: string;
  keyType?: string;
}
export interface ProtoNode {
  fields?: Record<string, ProtoField>;
  nested?: Record<string, ProtoNode>;
}
export interface PresenceField {
  presence: 'pointer' | 'omitempty' | 'always' | 'omitzero' | 'inline';
  go: string;
  pointer?: boolean;
  optional?: boolean;
  rules?: string[];
  default?: unknown;
}
interface SwaggerProperty {
  $ref?: string;
  type?: string;
  items?: SwaggerProperty;
  'x-kubernetes-list-type'?: string;
  'x-kubernetes-list-map-keys'?: string[];
  'x-kubernetes-map-type'?: string;
  'x-kubernetes-patch-strategy'?: string;
  'x-kubernetes-patch-merge-key'?: string;
}
interface SwaggerDefinition {
  properties?: Record<string, SwaggerProperty>;
  required?: string[];
  'x-kubernetes-map-type'?: string;
  'x-kubernetes-group-version-kind'?: { group: string; version: string; kind: string }[];
  'x-kubernetes-unions'?: unknown;
}
interface DefaultRule {
  path: string;
  value?: unknown;
  rule?: string;
  when: string;
  featureGate?: string;
}
interface DiscoveryResource {
  name: string;
  kind: string;
  singularName: string;
  namespaced: boolean;
  verbs: string[];
  shortNames: string[];
  categories: string[];
  subresources: { name: string; group: string; version: string; kind: string; verbs: string[] }[];
}

interface V3Schema {
  properties?: Record<string, { default?: unknown }>;
}

/** @throws {Error} for a folder that lacks one of the files */
export function readFacts(folder: string) {
  const read = <T>(name: string): T => JSON.parse(readFileSync(join(folder, name), 'utf8')) as T;
  const proto = read<ProtoNode>('protobuf.json');
  const jsonNames = read<{
    inline: Record<string, string[]>;
    rename: Record<string, Record<string, string>>;
  }>('protobuf-json-names.json');
  const presence = read<{
    fields: Record<string, Record<string, PresenceField>>;
    types: Record<string, { go?: string; rules?: string[] }>;
  }>('presence.json');
  const swagger = read<{ definitions: Record<string, SwaggerDefinition> }>('openapi-v2.json').definitions;
  const enums = read<Record<string, Record<string, string[]>>>('enums.json');
  const defaults = read<{ byDefinition: Record<string, DefaultRule[]> }>('defaults.json').byDefinition;
  const discovery = read<{
    release: string;
    groups: {
      name: string;
      preferredVersion: string;
      versions: { version: string; enabledByDefault: boolean; resources: DiscoveryResource[] }[];
    }[];
  }>('discovery/discovery.json');
  const columns =
    read<Record<string, Record<string, { name: string; type: string; format: string; priority: number }[]>>>(
      'printer-columns.json',
    );
  const fieldSelectors = read<{
    default: { labels: string[] };
    kinds: { group: string; version: string; kind: string; labels: string[] }[];
  }>('field-selectors.json');
  const v3: Record<string, V3Schema> = {};
  for (const file of readdirSync(join(folder, 'openapi-v3'))) {
    const document = read<{ components?: { schemas?: Record<string, V3Schema> } }>(`openapi-v3/${file}`);
    Object.assign(v3, document.components?.schemas);
  }
  return { read, proto, jsonNames, presence, swagger, enums, defaults, discovery, columns, fieldSelectors, v3 };
}
