/** Tells the nodes' status which volumes are attached (`volumesAttached`). */
import { InTurnByKey } from '../../../base/in-turn.ts';
import type { Node } from '../../../api/types/index.gen.ts';
import { isNotFound } from '../../../client/errors.ts';
import type { Informer } from '../../../client/informer.ts';
import type { TypedClient } from '../../../client/typed-client.ts';
import type { ActualState } from './actual-state.ts';

export class AttachedReport {
  readonly #client: TypedClient;
  readonly #nodes: Informer<Node>;
  readonly #actual: ActualState;
  /** One write of a node's status at a time, in the order in which they were asked for. */
  readonly #reporting = new InTurnByKey();

  constructor(client: TypedClient, nodes: Informer<Node>, actual: ActualState) {
    this.#client = client;
    this.#nodes = nodes;
    this.#actual = actual;
  }

  /** Writes what is attached into the node's status. Rejects when that was not possible; then it is still to be done. */
  write(node: string): Promise<void> {
    return this.#reporting.run(node, () => this.#write(node));
  }

  async #write(node: string): Promise<void> {
    if (this.#nodes.lister.get(node) === undefined) return;
    const volumes = this.#actual.takeReport(node);
    if (volumes === undefined) return;
    try {
      await this.#client.core.nodes.patch(
        node,
        undefined,
        'strategic',
        { status: { volumesAttached: volumes.length === 0 ? null : volumes } },
        { subresource: 'status' },
      );
    } catch (error) {
      if (isNotFound(error)) return;
      this.#actual.reportAgain(node);
      throw error;
    }
  }
}
