/** `NameServer`: messages in, messages out. The quick way is the answer table; what it does not know goes through the chain. */
import type { Clock } from '../base/clock.ts';
import { ioNow } from '../base/io-time.ts';
import type { Logger } from '../base/logger.ts';
import type { Random } from '../base/random.ts';
import { AnswerTable } from './answer-table.ts';
import type { Block, Chain } from './chain.ts';
import { Encoder } from './encoder.ts';
import type { Client, Reply, Request } from './message.ts';
import { failure, rcodes } from './message.ts';
import type { Meter, Metrics } from './metrics.ts';
import type { Stamps } from './stamps.ts';
import type { Query } from './wire.ts';
import { headerReply, parseQuery } from './wire.ts';

/** So many questions wait for others at a time. */
const maxWaiting = 4096;
const maxMessage = 65_535;
const minPayload = 512;

export interface NameServerOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly stamps: Stamps;
  readonly metrics: Metrics;
}

export class NameServer {
  readonly #o: NameServerOptions;
  readonly #encoder = new Encoder();
  readonly #tables = new Map<number, AnswerTable>();
  #chain: Chain | undefined;
  #waiting = 0;

  constructor(options: NameServerOptions) {
    this.#o = options;
  }

  get chain(): Chain | undefined {
    return this.#chain;
  }

  /** From now on answers are this chain's. */
  use(chain: Chain | undefined): void {
    this.#chain = chain;
    for (const table of this.#tables.values()) table.clear();
  }

  #table(port: number): AnswerTable {
    let table = this.#tables.get(port);
    if (table === undefined) this.#tables.set(port, (table = new AnswerTable(this.#o)));
    return table;
  }

  /** The answer to a message that needs nothing made, `reserve` bytes free in front of it. */
  quick(message: Buffer, port: number, tcp: boolean, family: 4 | 6, reserve: number): Buffer | undefined {
    try {
      return this.#table(port).answer(message, tcp, family, reserve);
    } catch (error) {
      this.#o.logger.error('DNS answer could not be given from bytes', { error });
      return undefined;
    }
  }

  /** The answer to any message; undefined: none is due. `port`: the Corefile's. Never throws. */
  answer(message: Buffer, client: Client, port: number): Buffer | undefined | Promise<Buffer | undefined> {
    try {
      return this.#answer(message, client, port);
    } catch (error) {
      return this.#unanswered(message, error);
    }
  }

  #unanswered(message: Buffer, error: unknown): Buffer {
    this.#o.metrics.panics.of({}).value++;
    this.#o.logger.error('DNS answer could not be made', { error });
    return headerReply(message, rcodes.SERVFAIL);
  }

  #answer(message: Buffer, client: Client, port: number): Buffer | undefined | Promise<Buffer | undefined> {
    const query = parseQuery(message);
    if (query === undefined) return undefined;
    if (typeof query === 'number') return headerReply(message, query);
    const began = ioNow();
    const request: Request = {
      name: query.name.toLowerCase(),
      asked: query.name,
      type: query.type,
      cls: query.cls,
      id: query.id,
      opcode: query.opcode,
      rd: query.rd,
      cd: query.cd,
      ad: query.ad,
      dnssec: query.edns?.dnssec === true,
      bufferSize: query.edns?.size,
      options: query.edns?.options,
      length: message.length,
      client,
      depth: 0,
      outside: true,
    };
    const chain = this.#chain;
    if ((query.edns?.version ?? 0) > 0)
      return this.#encode(query, failure('', rcodes.BADVERS), client, undefined).bytes;
    const block = chain?.find(port, request.name, request.type);
    if (chain === undefined || block === undefined || (query.cls !== 1 && !chain.otherClasses(port))) {
      const reply = failure('', chain === undefined ? rcodes.SERVFAIL : rcodes.REFUSED);
      const { bytes } = this.#encode(query, reply, client, undefined);
      this.#meter(`dns://:${port}`, 'dropped', request, reply).count(
        client.transport === 'tcp',
        familyOf(client),
        message.length,
        bytes.length,
        (ioNow() - began) / 1000,
        request.dnssec,
      );
      return bytes;
    }
    let reply: Reply | Promise<Reply>;
    try {
      reply = block.handler(request);
    } catch (error) {
      reply = this.#panic(request, error);
    }
    if (!(reply instanceof Promise)) return this.#finish(message, query, request, reply, chain, block, port, began);
    if (this.#waiting >= maxWaiting) {
      reply.catch(() => {}); // nobody hears of it any more: the client is told SERVFAIL now
      return this.#finish(message, query, request, failure('', rcodes.SERVFAIL), chain, block, port, began);
    }
    this.#waiting++;
    const done = this.#o.clock.activity.begin();
    const end = chain.begin();
    return reply
      .catch((error: unknown) => this.#panic(request, error))
      .then((given) => this.#finish(message, query, request, given, chain, block, port, began))
      .catch((error: unknown) => this.#unanswered(message, error))
      .finally(() => {
        end();
        done();
        this.#waiting--;
      });
  }

  /** Answers without a message, for callers in this process; nobody outside is asked. */
  async ask(name: string, type: number): Promise<Reply> {
    const lower = name.toLowerCase();
    const chain = this.#chain;
    const port = chain?.ports[0] ?? 53;
    const block = chain?.find(port, lower, type);
    if (block === undefined) return failure('', rcodes.REFUSED);
    const done = this.#o.clock.activity.begin();
    try {
      return await block.handler({
        name: lower,
        asked: name,
        type,
        cls: 1,
        id: 0,
        opcode: 0,
        rd: true,
        cd: false,
        ad: false,
        dnssec: false,
        bufferSize: undefined,
        options: undefined,
        length: 0,
        client: { address: '127.0.0.1', port: 0, transport: 'local', local: '127.0.0.1' },
        depth: 0,
        outside: false,
      });
    } finally {
      done();
    }
  }

  #panic(request: Request, error: unknown): Reply {
    this.#o.metrics.panics.of({}).value++;
    this.#o.logger.error('DNS question failed', { name: request.name, error });
    return failure('', rcodes.SERVFAIL);
  }

  #meter(server: string, zone: string, request: Request, reply: Reply): Meter {
    return this.#o.metrics.meter({ server, zone }, request.type, reply.rcode, reply.plugin);
  }

  #finish(
    message: Buffer,
    query: Query,
    request: Request,
    reply: Reply,
    chain: Chain,
    block: Block,
    port: number,
    began: number,
  ): Buffer {
    const { client } = request;
    const { wishes } = block;
    const encoded = this.#encode(query, reply, client, wishes.maxPayload);
    const meter = wishes.metered ? this.#meter(block.server, block.zone, request, reply) : undefined;
    meter?.count(
      client.transport === 'tcp',
      familyOf(client),
      message.length,
      encoded.bytes.length,
      (ioNow() - began) / 1000,
      request.dnssec,
    );
    // Of a Corefile that is not in use any more nothing is kept.
    if (reply.reusable !== undefined && reply.after === undefined && reply.error === undefined && chain === this.#chain)
      this.#table(port).put(message, {
        encoded: encoded.truncated && client.transport !== 'tcp' ? this.#whole(query, reply) : encoded,
        reusable: reply.reusable,
        answerTypes: reply.answers.map((r) => r.type),
        shuffle: wishes.shuffle,
        maxPayload: wishes.maxPayload,
        meter,
      });
    if (reply.after !== undefined) for (const told of reply.after) told(encoded.bytes.length);
    return encoded.bytes;
  }

  /** The answer without a bound, to be cut for each client. */
  #whole(query: Query, reply: Reply) {
    return this.#encode(query, reply, { address: '', port: 0, transport: 'tcp', local: '' }, undefined);
  }

  #encode(query: Query, reply: Reply, client: Client, maxPayload: number | undefined) {
    const { edns } = query;
    const size = Math.min(edns?.size ?? 0, maxPayload ?? maxMessage);
    return this.#encoder.encode(
      {
        id: query.id,
        response: true,
        opcode: query.opcode,
        authoritative: reply.authoritative,
        truncated: reply.truncated,
        rd: query.opcode === 0 && query.rd,
        recursion: reply.recursion,
        authentic: reply.authentic,
        cd: query.opcode === 0 && query.cd,
        rcode: reply.rcode,
        question: query,
        answers: reply.answers,
        authority: reply.authority,
        additional: reply.additional,
        edns: edns === undefined ? undefined : { size, dnssec: edns.dnssec, options: reply.options },
      },
      client.transport === 'tcp' ? maxMessage : Math.max(size, minPayload),
    );
  }
}

function familyOf(client: Client): 4 | 6 {
  return client.address.includes(':') ? 6 : 4;
}
