/** Kubernetes' named formats: `format.dns1123Label().validate(name)`. */
import { isDNS1035Label, isLabelValue, isQualifiedName, nameIsDNSLabel, nameIsDNSSubdomain } from '../../names.ts';
import { matchesFormat } from '../../schema/formats.ts';
import type { Library, Overload } from '../declarations.ts';
import { global, member } from '../declarations.ts';
import { libraryType, listType, optionalType, stringType } from '../types.ts';
import { LibraryValue, none, optionalOf } from '../values.ts';
import { uriError } from './urls.ts';

const formatType = libraryType('kubernetes.NamedFormat');

class FormatValue extends LibraryValue {
  readonly name: string;
  /** How long a regular expression that does the same would be: what costs are computed from. */
  readonly maxRegexSize: number;
  readonly validate: (text: string) => readonly string[];

  constructor(name: string, maxRegexSize: number, validate: (text: string) => readonly string[]) {
    super();
    this.name = name;
    this.maxRegexSize = maxRegexSize;
    this.validate = validate;
  }

  get celType(): typeof formatType {
    return formatType;
  }

  equals(other: LibraryValue): boolean {
    return this.name === (other as FormatValue).name;
  }
}

const openAPI =
  (format: string, message: string) =>
  (text: string): string[] =>
    matchesFormat(format, text) === false ? [message] : [];

/** A prefix of a generated name may end in a dash, which stands for what comes behind. */
const prefixOf = (text: string): string => (text.length > 1 && text.endsWith('-') ? `${text.slice(0, -2)}a` : text);

const formats: ReadonlyMap<string, FormatValue> = new Map(
  (
    [
      ['dns1123Label', 'DNS1123Label', 30, (s) => nameIsDNSLabel(s, false)],
      ['dns1123Subdomain', 'DNS1123Subdomain', 60, (s) => nameIsDNSSubdomain(s, false)],
      ['dns1035Label', 'DNS1035Label', 30, (s) => isDNS1035Label(s)],
      ['qualifiedName', 'QualifiedName', 60, (s) => isQualifiedName(s)],
      ['dns1123LabelPrefix', 'DNS1123LabelPrefix', 30, (s) => nameIsDNSLabel(s, true)],
      ['dns1123SubdomainPrefix', 'DNS1123SubdomainPrefix', 60, (s) => nameIsDNSSubdomain(s, true)],
      ['dns1035LabelPrefix', 'DNS1035LabelPrefix', 30, (s) => isDNS1035Label(prefixOf(s))],
      ['labelValue', 'LabelValue', 40, (s) => isLabelValue(s)],
      [
        'uri',
        'URI',
        1103,
        (s) => {
          const error = uriError(s);
          return error === undefined ? [] : [error];
        },
      ],
      ['uuid', 'uuid', 70, openAPI('uuid', 'does not match the UUID format')],
      ['byte', 'byte', 84, openAPI('byte', 'invalid base64')],
      ['date', 'date', 71, openAPI('date', 'invalid date')],
      ['datetime', 'datetime', 71, openAPI('datetime', 'invalid datetime')],
    ] as readonly (readonly [string, string, number, (text: string) => readonly string[]])[]
  ).map(([key, name, size, validate]) => [key, new FormatValue(name, size, validate)]),
);

const constants: Record<string, readonly Overload[]> = {};
for (const [name, format] of formats) {
  constants[`format.${name}`] = [global(`format.${name}`, [], formatType, () => format)];
}

export const formatLibrary: Library = {
  name: 'kubernetes.format',
  types: [formatType],
  functions: {
    ...constants,
    validate: [
      member('format-validate', [formatType, stringType], optionalType(listType(stringType)), ([f, s]) => {
        const errors = (f as FormatValue).validate(s as string);
        return errors.length === 0 ? none : optionalOf(errors);
      }),
    ],
    'format.named': [
      global('format-named', [stringType], optionalType(formatType), ([name]) => {
        const format = formats.get(name as string);
        return format === undefined ? none : optionalOf(format);
      }),
    ],
  },
};
