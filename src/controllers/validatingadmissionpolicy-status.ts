/**
 * The ValidatingAdmissionPolicy status controller: writes into a policy's status what its expressions get wrong about the types of
 * the objects that the policy is about.
 */
import { typeCheck } from '../api/admission/type-checking.ts';
import type { TypeSources } from '../api/admission/type-checking.ts';
import { loadCatalog } from '../api/catalog/catalog.ts';
import type { Catalog } from '../api/catalog/catalog.ts';
import { fromOpenAPI } from '../api/schema/from-openapi.ts';
import type { CustomResourceDefinition, ValidatingAdmissionPolicy } from '../api/types/index.gen.ts';
import { Controller } from '../client/controller.ts';
import { resources } from '../client/resources.ts';
import type { TypedClient } from '../client/typed-client.ts';
import type { ControllerContext, ControllerDescriptor, RunningController } from './context.ts';

const fieldManager = 'validatingadmissionpolicy-status';

/** Types of the catalogue, and of the definitions of custom resources as they are now. */
function sourcesOf(catalog: Catalog, client: TypedClient): TypeSources {
  let definitions: Promise<readonly CustomResourceDefinition[]> | undefined;
  const customs = (): Promise<readonly CustomResourceDefinition[]> =>
    (definitions ??= client.apiextensions.customresourcedefinitions.list().then((l) => l.items));
  const served = (d: CustomResourceDefinition, group: string, version: string) =>
    d.spec.group === group ? d.spec.versions.find((v) => v.name === version && v.served) : undefined;
  return {
    async kindsOf(group, version, resource) {
      const builtIn = catalog.resource(group, version, resource);
      if (builtIn !== undefined) return [{ group, version, kind: builtIn.kind }];
      const all = await customs();
      const custom = all.find((d) => d.spec.names.plural === resource && served(d, group, version) !== undefined);
      return custom === undefined ? [] : [{ group, version, kind: custom.spec.names.kind }];
    },
    async schemaOf(gvk) {
      const builtIn = catalog.schemaForKind(gvk);
      if (builtIn !== undefined) return builtIn;
      for (const definition of await customs()) {
        const version = served(definition, gvk.group, gvk.version);
        if (version === undefined || definition.spec.names.kind !== gvk.kind) continue;
        const schema = version.schema?.openAPIV3Schema;
        if (schema === undefined) return undefined;
        const objectMeta = catalog.schema('io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta');
        // Without the constraints of the whole, its metadata is that of any object.
        const { constraints: _constraints, ...type } = fromOpenAPI(schema, { objectMeta });
        return type;
      }
      return undefined;
    },
  };
}

function start(context: ControllerContext): RunningController {
  const client = context.clientFor('validatingadmissionpolicy-status-controller');
  const policies = context.informers.informer(resources.admissionregistration.validatingadmissionpolicies);
  let catalog: Catalog | undefined;
  const controller = new Controller({
    queueMetrics: context.queueMetrics,
    name: 'validatingadmissionpolicy-status',
    workers: context.options.concurrency?.['validating-admission-policy-status'],
    clock: context.clock,
    logger: context.logger,
    reconcile: async (name) => {
      const policy = policies.lister.get(name);
      const generation = policy?.metadata.generation ?? 0;
      if (policy === undefined || generation <= (policy.status?.observedGeneration ?? 0)) return;
      catalog ??= loadCatalog();
      const expressionWarnings = await typeCheck(policy.spec ?? {}, sourcesOf(catalog, context.client));
      await client.admissionregistration.validatingadmissionpolicies.apply(
        {
          metadata: { name },
          status: {
            observedGeneration: generation,
            typeChecking: expressionWarnings.length === 0 ? {} : { expressionWarnings: [...expressionWarnings] },
          },
        },
        { fieldManager, force: true, subresource: 'status' },
      );
    },
  });
  policies.addHandler({
    onAdd: (policy: ValidatingAdmissionPolicy) => controller.queue.add(policy.metadata.name!),
    onUpdate: (_old, policy) => controller.queue.add(policy.metadata.name!),
  });
  controller.start(policies.synced);
  return controller;
}

export const validatingAdmissionPolicyStatusController: ControllerDescriptor = {
  name: 'validatingadmissionpolicy-status-controller',
  aliases: ['validatingadmissionpolicy-status'],
  start,
};
