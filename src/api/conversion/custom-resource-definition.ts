/**
 * CustomResourceDefinitions as upstream stores them: in v1beta1, where what is the same in all versions stands beside the
 * versions. It is no longer served, so nothing is ever converted to it.
 */
import type { KubeObject } from '../object.ts';

type Members = Readonly<Record<string, unknown>>;

interface OldSpec {
  readonly group?: string;
  readonly version?: string;
  readonly names?: Members;
  readonly scope?: string;
  readonly validation?: Members;
  readonly subresources?: Members;
  readonly versions?: readonly Members[];
  readonly additionalPrinterColumns?: readonly Members[];
  readonly selectableFields?: readonly Members[];
  readonly conversion?: Members;
  readonly preserveUnknownFields?: boolean;
}

function columns(given: unknown): unknown {
  return (given as readonly Members[] | undefined)?.map(({ JSONPath, ...column }) => ({
    ...column,
    jsonPath: JSONPath ?? column['jsonPath'] ?? '',
  }));
}

function conversion(given: Members | undefined): Members {
  if (given === undefined) return { strategy: 'None' };
  const { strategy, webhookClientConfig: clientConfig, conversionReviewVersions } = given;
  if (clientConfig === undefined && conversionReviewVersions === undefined) return { strategy };
  return { strategy, webhook: { ...(clientConfig === undefined ? {} : { clientConfig }), conversionReviewVersions } };
}

/** Members without those that are undefined. */
function present(members: Members): Members {
  return Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined));
}

export function oldDefinitionToV1(object: KubeObject): KubeObject {
  const spec = (object['spec'] ?? {}) as OldSpec;
  const given =
    spec.versions ?? (spec.version === undefined ? [] : [{ name: spec.version, served: true, storage: true }]);
  const versions = given.map((v) =>
    present({
      name: v['name'],
      served: v['served'],
      storage: v['storage'],
      deprecated: v['deprecated'],
      deprecationWarning: v['deprecationWarning'],
      schema: spec.validation ?? v['schema'],
      subresources: spec.subresources ?? v['subresources'],
      additionalPrinterColumns: columns(spec.additionalPrinterColumns ?? v['additionalPrinterColumns']),
      selectableFields: spec.selectableFields ?? v['selectableFields'],
    }),
  );
  return {
    ...object,
    apiVersion: 'apiextensions.k8s.io/v1',
    spec: present({
      group: spec.group,
      names: spec.names,
      scope: spec.scope ?? 'Namespaced',
      versions,
      conversion: conversion(spec.conversion),
      preserveUnknownFields: spec.preserveUnknownFields === false ? undefined : true,
    }),
  };
}
