/** Compiling and running: from source to a program, from a program and its variables to a value. */
import { ProgramError } from './calls.ts';
import { check } from './checker.ts';
import { perCallLimit } from './costs.ts';
import type { Env } from './env.ts';
import { CelError, CostExceeded, Failure, Issues, Suspended } from './errors.ts';
import type { CompileIssue } from './errors.ts';
import { Frame } from './frame.ts';
import type { Eval } from './frame.ts';
import { parse } from './parser.ts';
import { Planner } from './plan.ts';
import type { CelType } from './types.ts';
import { validate } from './validators.ts';
import type { Node } from './ast.ts';
import { conversionOf } from './convert.ts';

/** Why an expression does not compile. */
export interface CompileErrors {
  /**
   * `check`: syntax, names and types; `program`: a constant that cannot be converted, a pattern that does not compile (upstream
   * calls that `program instantiation failed`).
   */
  readonly stage: 'check' | 'program';
  /** All errors, with source lines and carets, as Kubernetes prints them. */
  readonly message: string;
  readonly issues: readonly CompileIssue[];
}

export interface Compiled {
  readonly program: Program;
  readonly type: CelType;
  /** The checked tree: what cost estimates read. */
  readonly tree: Node;
  readonly errors?: undefined;
}

export interface NotCompiled {
  readonly errors: CompileErrors;
}

export interface EvaluateOptions {
  /** The most the evaluation may cost; apiserver's limit of one call when left out. */
  readonly budget?: number;
}

export interface Evaluated {
  readonly value: unknown;
  readonly cost: number;
}

/** Variables by name. */
export type Activation = Readonly<Record<string, unknown>>;

/** Parses, checks and compiles an expression. Never throws for what is wrong with the source. */
export function compile(source: string, env: Env): Compiled | NotCompiled {
  const issues = new Issues(source);
  const failed = (): NotCompiled => ({
    errors: { stage: 'check', message: issues.toString(), issues: issues.list },
  });
  const { features } = env;
  const options = {
    macros: env.macros,
    optionalSyntax: features.optionalSyntax,
    identEscape: features.identEscape,
  };
  const tree = parse(source, options, issues);
  if (tree === undefined) return failed();
  const type = check(tree, env, issues);
  if (issues.count > 0) return failed();
  const { validateLiterals: literals, homogeneousLiterals: homogeneous } = features;
  validate(tree, { literals, homogeneous, formats: literals }, issues);
  if (issues.count > 0) return failed();
  const planner = new Planner(env);
  try {
    const plan = planner.plan(tree);
    return { program: new Program(source, plan.eval, planner, env), type, tree };
  } catch (error) {
    if (!(error instanceof ProgramError)) throw error;
    return { errors: { stage: 'program', message: error.message, issues: [] } };
  }
}

interface Variable {
  readonly name: string;
  readonly slot: number;
  readonly convert: ((raw: unknown) => unknown) | undefined;
}

/** A compiled expression; runs any number of times. */
export class Program {
  readonly source: string;
  /** The variables that the expression uses. */
  readonly variables: readonly string[];
  readonly #eval: Eval;
  readonly #slots: number;
  readonly #loads: readonly Variable[];
  readonly #frame: Frame;

  constructor(source: string, run: Eval, planner: Planner, env: Env) {
    this.source = source;
    this.#eval = run;
    this.#slots = planner.slots;
    this.#loads = [...planner.variables].map(([name, slot]) => {
      const type = env.variables.get(name);
      return { name, slot, convert: type === undefined ? undefined : conversionOf(type) };
    });
    this.variables = this.#loads.map((l) => l.name);
    this.#frame = new Frame(planner.slots);
  }

  /**
   * Runs with the given variables, at once. Values are JSON as it is in memory; what comes out may share parts with what went in.
   * @throws {CelError} when the expression fails, or costs more than it may
   */
  evaluate(activation: Activation, options: EvaluateOptions = {}): Evaluated {
    // One frame serves one evaluation after the other; an evaluation within an evaluation gets its own.
    const f = this.#frame.busy ? new Frame(this.#slots) : this.#frame;
    f.busy = true;
    f.cost = 0;
    f.limit = options.budget ?? perCallLimit;
    try {
      const loads = this.#loads;
      for (let i = 0; i < loads.length; i++) {
        const { name, slot, convert } = loads[i]!;
        const raw = activation[name];
        f.slots[slot] = convert === undefined ? raw : convertVariable(raw, convert);
      }
      const value = this.#eval(f);
      if (f.cost > f.limit) throw new CostExceeded();
      return { value, cost: f.cost };
    } catch (error) {
      throw reported(error, f.cost);
    } finally {
      f.clear();
    }
  }

  /**
   * As `evaluate`, for variables that decide asynchronously (authorizers): the evaluation is run again with each answer.
   * @throws {CelError} as `evaluate` does
   */
  async evaluateAsync(activation: Activation, options: EvaluateOptions = {}): Promise<Evaluated> {
    for (let i = 0; ; i++) {
      try {
        return this.evaluate(activation, options);
      } catch (error) {
        if (!(error instanceof Suspended) || i === maxSuspensions) throw error;
        await error.ready;
      }
    }
  }
}

/** How often an evaluation may wait: the cost of authorization checks allows for two. */
const maxSuspensions = 16;

function convertVariable(raw: unknown, convert: (raw: unknown) => unknown): unknown {
  if (raw === undefined || raw === null) return raw;
  try {
    return convert(raw);
  } catch (error) {
    if (error instanceof Failure) return error;
    throw error;
  }
}

function reported(error: unknown, cost: number): unknown {
  if (error instanceof Failure) return new CelError('runtime', error.message, cost);
  if (error instanceof CostExceeded) {
    return new CelError('cost', 'operation cancelled: actual cost limit exceeded', cost);
  }
  if (error instanceof RangeError && /call stack/.test(error.message)) {
    return new CelError('runtime', 'internal error: expression nests too deep', cost, error);
  }
  return error;
}
