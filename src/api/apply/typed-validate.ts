/** Checks applied configurations against their schema, in upstream's words. */
import { goSyntax, goTypeName, isObject, printGo } from '../patch/values.ts';
import type { ObjectSchema, Schema } from '../schema/schema.ts';
import { elementText } from './field-set.ts';
import { associative, deduced, itemElement, memberSchema, shapeOf, TypedError } from './typed.ts';

/**
 * Checks a configuration as apply does: declared fields only, fitting types, unambiguous items.
 * @param stored an object as it is: items may stand twice, and what is an integer or a string may be anything
 * @throws {TypedError}
 */
export function validateTyped(schema: ObjectSchema, value: unknown, stored = false): void {
  const errors: string[] = [];
  validate(schema, value, '', errors, stored);
  if (errors.length > 0) throw new TypedError(errors);
}

function report(errors: string[], path: string, message: string): void {
  errors.push(path === '' ? message : `${path}: ${message}`);
}

/** Go's `%#v` of upstream's wrapper around a value. */
function wrapped(value: unknown): string {
  return `&value.valueUnstructured{Value:${goSyntax(value)}}`;
}

function validate(schema: Schema, value: unknown, path: string, errors: string[], stored: boolean): void {
  if (value === null || value === undefined) return;
  switch (shapeOf(schema, value)) {
    case 'map': {
      if (!isObject(value)) {
        report(errors, path, `expected map, got &{${printGo(value)}}`);
        return;
      }
      for (const key of Object.keys(value)) {
        const type = memberSchema(schema, key);
        const at = `${path}.${key}`;
        if (type === undefined) {
          // Nothing after it is looked at.
          report(errors, at, 'field not declared in schema');
          return;
        }
        validate(type, value[key], at, errors, stored);
      }
      return;
    }
    case 'list': {
      if (!Array.isArray(value)) {
        report(errors, path, `expected list, got &{${printGo(value)}}`);
        return;
      }
      const list = associative(schema);
      const itemType = schema.kind === 'list' ? schema.items : deduced;
      const seen = new Set<string>();
      for (const [i, item] of value.entries()) {
        let at = `[${i}]`;
        if (list !== undefined) {
          let element: string;
          try {
            element = itemElement(list, item);
          } catch (e) {
            report(errors, path, `element ${i}: ${(e as Error).message}`);
            return;
          }
          at = elementText(element);
          if (seen.has(element) && !stored) report(errors, path, `duplicate entries for key ${at}`);
          seen.add(element);
        }
        validate(itemType, item, `${path}${at}`, errors, stored);
      }
      return;
    }
    default:
      if (!stored || schema.kind !== 'scalar' || schema.type !== 'intOrString')
        validateScalar(schema, value, path, errors);
  }
}

function validateScalar(schema: Schema, value: unknown, path: string, errors: string[]): void {
  const type = schema.kind === 'scalar' ? schema.type : undefined;
  switch (type) {
    case 'int32':
    case 'int64':
    case 'double':
      if (typeof value !== 'number' && typeof value !== 'bigint') {
        report(errors, path, `expected numeric (int or float), got ${goTypeName(value)}`);
      }
      return;
    case 'boolean':
      if (typeof value !== 'boolean') report(errors, path, `expected boolean, got &{${printGo(value)}}`);
      return;
    case 'string':
    case 'bytes':
    case 'duration': {
      const format = schema.constraints?.format ?? '';
      if (format !== '' && format !== 'byte') break;
      if (typeof value !== 'string') report(errors, path, `expected string, got ${wrapped(value)}`);
      return;
    }
  }
  if (typeof value === 'object') report(errors, path, `expected any scalar, got &{${printGo(value)}}`);
}
