/** Pages of a kubelet's own HTTP API. */
import { request } from 'node:http';
import { duplexPair } from '../../../src/kubelet/runtime/simulated/pipe.ts';
import type { RealNode } from './real-node.ts';

/** What it answers to a GET. */
export function kubeletPage(node: RealNode, path: string): Promise<string> {
  const [near, far] = duplexPair();
  node.kubelet.serve(far);
  return new Promise((resolve, reject) => {
    const r = request({ createConnection: () => near as never, path, headers: { connection: 'close' } }, (answer) => {
      let text = '';
      answer.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
      answer.on('end', () => resolve(text));
    });
    r.on('error', reject);
    r.end();
  });
}
