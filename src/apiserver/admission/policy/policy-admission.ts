/** Both policy plugins with what they share: the policies they follow, parameters, metrics. */
import type { Catalog } from '../../../api/catalog/catalog.ts';
import type {
  MutatingAdmissionPolicyBindingSpec,
  MutatingAdmissionPolicySpec,
  ValidatingAdmissionPolicyBindingSpec,
  ValidatingAdmissionPolicySpec,
} from '../../../api/types/admissionregistration-v1.gen.ts';
import type { Clock } from '../../../base/clock.ts';
import type { AdmissionPlugin, Authorizer } from '../../context.ts';
import type { Family } from '../../metrics/exposition.ts';
import type { RegistriesImpl } from '../../registry/registries.ts';
import type { ResourceDirectory } from '../../resource-directory.ts';
import { EquivalentResources } from '../matching.ts';
import type { AdmissionMetrics } from '../metrics.ts';
import { Namespaces } from '../namespaces.ts';
import { ObjectVersions } from '../object-versions.ts';
import { PolicyMetrics } from './metrics.ts';
import { mutatingAdmissionPolicy } from './mutating.ts';
import { Mutator } from './mutator.ts';
import { Params } from './params.ts';
import { PolicySource } from './source.ts';
import { authorizeWith } from './subject.ts';
import { validatingAdmissionPolicy } from './validating.ts';
import { Validator } from './validator.ts';

export interface PolicyAdmissionOptions {
  readonly registries: RegistriesImpl;
  readonly directory: ResourceDirectory;
  readonly catalog: Catalog;
  readonly clock: Clock;
  readonly authorizer: Authorizer;
  readonly metrics: AdmissionMetrics;
}

export interface PolicyAdmission {
  readonly plugins: readonly AdmissionPlugin[];
  readonly families: readonly Family[];
  /** Reads the policies; before the first request. */
  start(): Promise<void>;
  close(): void;
}

export function createPolicyAdmission(options: PolicyAdmissionOptions): PolicyAdmission {
  const { registries, directory, metrics: admissionMetrics } = options;
  const metrics = new PolicyMetrics();
  const validating = new PolicySource<ValidatingAdmissionPolicySpec, ValidatingAdmissionPolicyBindingSpec, Validator>(
    registries,
    { policies: 'validatingadmissionpolicies', bindings: 'validatingadmissionpolicybindings' },
    (name, spec) => metrics.compiling(() => new Validator(name, spec, admissionMetrics)),
  );
  const mutating = new PolicySource<MutatingAdmissionPolicySpec, MutatingAdmissionPolicyBindingSpec, Mutator>(
    registries,
    { policies: 'mutatingadmissionpolicies', bindings: 'mutatingadmissionpolicybindings' },
    (name, spec) => metrics.compiling(() => new Mutator(name, spec, admissionMetrics)),
  );
  const versions = new ObjectVersions(options);
  const deps = {
    metrics,
    versions,
    equivalents: new EquivalentResources(directory),
    namespaces: new Namespaces(registries),
    params: new Params({ registries, directory, versions }),
    authorize: authorizeWith(options.authorizer),
  };
  return {
    plugins: [
      mutatingAdmissionPolicy({ ...deps, source: mutating }),
      validatingAdmissionPolicy({ ...deps, source: validating }),
    ],
    families: metrics.families,
    async start() {
      await Promise.all([mutating.start(), validating.start()]);
    },
    close() {
      mutating.close();
      validating.close();
    },
  };
}
