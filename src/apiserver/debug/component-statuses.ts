/**
 * ComponentStatuses: how scheduler, controller manager and store are at the moment of asking. Deprecated, but asked for by
 * `kubectl get cs`. Components of other processes are asked at upstream's ports on this machine.
 */
import * as https from 'node:https';
import { methodNotSupported, notFound } from '../../api/status.ts';
import type { RequestContext } from '../context.ts';
import { readLabelSelector } from '../registry/selectable-fields.ts';
import type { KubeObjectLike, OutgoingResponse } from '../request.ts';

/** Rejects with what ails the component. */
export type ComponentProbes = ReadonlyMap<string, () => Promise<void>>;

const probeTimeoutMs = 3000;

/** `/healthz` of a component's secure port on this machine, whoever signed its certificate. */
function probePort(port: number): () => Promise<void> {
  const url = `https://127.0.0.1:${port}/healthz`;
  return () =>
    new Promise((resolve, reject) => {
      const request = https.get(url, { rejectUnauthorized: false, timeout: probeTimeoutMs }, (response) => {
        response.resume();
        response.on('end', () => {
          if (response.statusCode === 200) resolve();
          else reject(new Error(`HTTP probe failed with statuscode: ${response.statusCode}`));
        });
        response.on('error', reject);
      });
      request.on('timeout', () => request.destroy(new Error('context deadline exceeded')));
      request.on('error', (error: NodeJS.ErrnoException) => {
        const why =
          error.code === 'ECONNREFUSED' ? `dial tcp 127.0.0.1:${port}: connect: connection refused` : error.message;
        reject(new Error(`Get "${url}": ${why}`, { cause: error }));
      });
    });
}

/** Where upstream's components answer. */
export function portProbes(): ComponentProbes {
  return new Map([
    ['controller-manager', probePort(10_257)],
    ['scheduler', probePort(10_259)],
  ]);
}

async function statusOf(name: string, probe: () => Promise<void>): Promise<KubeObjectLike> {
  let healthy = true;
  let message = 'ok';
  try {
    await probe();
  } catch (error) {
    healthy = false;
    message = error instanceof Error ? error.message : String(error);
  }
  return {
    metadata: { name },
    conditions: [{ type: 'Healthy', status: healthy ? 'True' : 'False', message }],
  };
}

/** Answers requests for `componentstatuses`. */
export function componentStatuses(probes: ComponentProbes): (ctx: RequestContext) => Promise<OutgoingResponse> {
  return async (ctx) => {
    const { verb, name } = ctx.info;
    const resource = { group: '', resource: 'componentstatuses' };
    if (verb === 'get') {
      const probe = probes.get(name);
      if (probe === undefined) throw notFound(resource, name);
      const object = await statusOf(name, probe);
      return {
        status: 200,
        body: { kind: 'object', object: { kind: 'ComponentStatus', apiVersion: 'v1', ...object } },
      };
    }
    if (verb !== 'list') throw methodNotSupported(resource, verb);
    // None of them has labels.
    const selector = readLabelSelector(ctx.info.labelSelector);
    const wanted = [...probes].filter(([own]) => (name === '' || own === name) && selector.matches({}));
    const items = await Promise.all(wanted.map(([own, probe]) => statusOf(own, probe)));
    return {
      status: 200,
      body: { kind: 'object', object: { kind: 'ComponentStatusList', apiVersion: 'v1', metadata: {}, items } },
    };
  };
}
