/**
 * Reads the catalogue's one-line definitions (made by `scripts/catalog.ts`) into the facts of their fields. A field is
 * `name number type presence` and then `key=value` words; fields are divided by `;`.
 *
 * Types: `string bool int32 int64 double bytes quantity time microTime duration intOrString raw fieldsV1 json any`, a
 * definition's name (`Container`, of another package `meta/v1.ObjectMeta`), `[]T` a list, `[w]T` a list that protobuf wraps,
 * `{}T` a map, `A|T` either the struct A or T. Presence: `p` pointer, `o` omitempty, `a` always, `z` omitzero, `n` a pointer
 * that is always written, null when unset.
 */

export interface FieldText {
  readonly name: string;
  readonly number: number;
  readonly type: string;
  readonly presence: 'p' | 'o' | 'a' | 'z' | 'n';
  readonly required: boolean;
  readonly listType?: string;
  readonly mapKeys?: readonly string[];
  readonly mapType?: 'atomic' | 'granular';
  /** The default that OpenAPI v3 shows, beyond the zero values. */
  readonly shown?: unknown;
  readonly patchStrategy?: string;
  readonly patchMergeKey?: string;
  readonly enum?: readonly string[];
  readonly goType?: string;
  readonly within?: readonly number[];
  readonly withinNames?: readonly string[];
  readonly default?: unknown;
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

export function parseDefinition(text: string): FieldText[] {
  if (text === '') return [];
  return text.split(';').map(parseField);
}

function parseField(text: string): FieldText {
  const words = text.split(' ');
  const field: Mutable<FieldText> = {
    name: words[0]!,
    number: Number(words[1]),
    type: words[2]!,
    presence: words[3] as FieldText['presence'],
    required: false,
  };
  for (let i = 4; i < words.length; i++) {
    const word = words[i]!;
    const eq = word.indexOf('=');
    const key = eq < 0 ? word : word.slice(0, eq);
    const value = eq < 0 ? '' : word.slice(eq + 1);
    switch (key) {
      case 'req':
        field.required = true;
        break;
      case 'list':
        field.listType = value;
        break;
      case 'keys':
        field.mapKeys = value.split(',');
        break;
      case 'map':
        field.mapType = value as 'atomic' | 'granular';
        break;
      case 'shown':
        field.shown = JSON.parse(value);
        break;
      case 'patch':
        field.patchStrategy = value;
        break;
      case 'mergeKey':
        field.patchMergeKey = value;
        break;
      case 'enum':
        field.enum = value.replaceAll('~', ' ').split(',');
        break;
      case 'go':
        field.goType = value;
        break;
      case 'in':
        field.within = value.slice(0, value.indexOf(':')).split('.').map(Number);
        field.withinNames = value.slice(value.indexOf(':') + 1).split('.');
        break;
      case 'default':
        field.default = JSON.parse(value);
        break;
      default:
        throw new Error(`unknown word ${word} in the catalogue`);
    }
  }
  return field;
}
