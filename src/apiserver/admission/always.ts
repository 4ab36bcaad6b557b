/** AlwaysAdmit and AlwaysDeny: upstream's two plugins without an opinion of their own, for tests of clusters. */
import type { AdmissionPlugin } from '../context.ts';
import { refuse } from './attributes.ts';

export const alwaysAdmit: AdmissionPlugin = {
  name: 'AlwaysAdmit',
  handles: () => true,
  mutate: (a) => a.object,
  validate() {},
};

const why = 'admission control is denying all modifications';

export const alwaysDeny: AdmissionPlugin = {
  name: 'AlwaysDeny',
  handles: () => true,
  mutate(a) {
    throw refuse(a, why);
  },
  validate(a) {
    throw refuse(a, why);
  },
};
