/** Check what a kernel or a notebook's output says against the schema before it is used. */
import type { Answers } from './answers';
import schema from './answers.schema.json';

export type Subject = keyof Answers;

/** Return the value as the answer to a subject, or null if it does not fit the schema. */
export function checked<S extends Subject>(subject: S, value: unknown): Answers[S] | null {
  return fits(schema.properties[subject], value) ? (value as Answers[S]) : null;
}

/** The part of JSON schema that ours uses. */
interface Kind {
  $ref?: string;
  type?: string;
  anyOf?: Kind[];
  enum?: unknown[];
  items?: Kind;
  properties?: Record<string, Kind>;
  additionalProperties?: Kind | boolean;
}

function fits(kind: Kind, value: unknown): boolean {
  if (kind.$ref !== undefined) {
    return fits((schema.$defs as Record<string, Kind>)[kind.$ref.replace('#/$defs/', '')] ?? {}, value);
  }
  if (kind.anyOf !== undefined) {
    return kind.anyOf.some(each => fits(each, value));
  }
  if (kind.enum !== undefined) {
    return kind.enum.includes(value);
  }
  switch (kind.type) {
    case 'object':
      return isObject(value) && fieldsFit(kind, value);
    case 'array':
      return Array.isArray(value) && value.every(item => fits(kind.items ?? {}, item));
    case 'integer':
      return Number.isInteger(value);
    case 'number':
      return Number.isFinite(value);
    case 'null':
      return value === null;
    default:
      return typeof value === kind.type;
  }
}

/** Every field that this version reads must be present; fields added by a later version are ignored. */
function fieldsFit({ properties = {}, additionalProperties: rest }: Kind, value: Record<string, unknown>): boolean {
  return (
    Object.entries(properties).every(([name, kind]) => Object.hasOwn(value, name) && fits(kind, value[name])) &&
    (typeof rest !== 'object' || Object.values(value).every(each => fits(rest, each)))
  );
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
