/** NodeName: a pod that names its node goes there or nowhere. */
import type { Plugin } from '../framework.ts';
import { rejection } from '../framework.ts';

const refused = rejection('NodeName', false, "node(s) didn't match the requested node name");

export const nodeName: Plugin = {
  name: 'NodeName',
  filter({ info, table }) {
    const wanted = info.pod.spec!.nodeName;
    if (wanted === undefined || wanted === '') return undefined;
    return { test: (row) => (table.names[row] === wanted ? undefined : refused) };
  },
  events: ['NodeAdd'],
};
