/** NodePorts: host ports that the pod wants must be free on the node. */
import type { Plugin } from '../framework.ts';
import { rejection } from '../framework.ts';

const refused = rejection('NodePorts', true, "node(s) didn't have free ports for the requested pod ports");

export const nodePorts: Plugin = {
  name: 'NodePorts',
  filter({ info, table }) {
    const ports = info.hostPorts;
    if (ports.length === 0) return undefined;
    return {
      test(row) {
        for (const p of ports) if (table.portTaken(row, p.protocol, p.ip, p.port)) return refused;
        return undefined;
      },
    };
  },
  events: ['AssignedPodDelete', 'NodeAdd'],
};
