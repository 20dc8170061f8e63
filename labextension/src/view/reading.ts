/**
 * A report as it may be shown: what came as JSON of unknown origin, taken field by field as the schema says.
 *
 * What does not fit becomes null, which every word for it knows; what is too long is cut; both are noted.
 */
import type { Report } from '../report';
import schema from '../report.schema.json';

/** The same with every value perhaps not known: a field of the wrong type is one that nobody measured. */
export type Seen<T> = T extends readonly (infer Item)[]
  ? (Item extends object ? Seen<Item> : Item)[]
  : T extends object
    ? { [Key in keyof T]-?: Seen<Exclude<T[Key], undefined>> }
    : T | null;

export interface Reading {
  report: Seen<Report>;
  /** What could not be read, in words: the first few, and how many more. */
  notes: string[];
}

export const SCHEMA_VERSION = schema.properties.schema_version.const;
const OLDER_VERSION = 4;
const WORDLESS =
  'An older jupyter-hwprune wrote this report, without the sentences that reports have now: here are its numbers. ' +
  'To see all of it, write it again in Python: `Report.load(path).save(path)`.';
export const MOST_CHARACTERS = 32 * 1024 * 1024; // of a file; a report of a thousand layers has a tenth of that
const LONGEST_TEXT = 6_000; // the tiles of a picture have 5464
const LONGEST_LIST = 10_000;
const MOST_VALUES = 1_500_000;
const MOST_NOTES = 4;

/** Read text or data; returns one sentence where nothing of it can be shown. */
export function read(source: unknown): Reading | string {
  const data = typeof source === 'string' ? parsed(source) : { value: source };
  if (typeof data === 'string') {
    return data;
  }
  if (!isObject(data.value)) {
    return `This is not an hwprune report: it is ${named(data.value)}, and a report is an object.`;
  }
  const fields = Object.keys(schema.properties).filter(name => Object.hasOwn(data.value as object, name));
  if (fields.length < 3) {
    return 'This is JSON, but not an hwprune report: it has none of its fields.';
  }
  const version = data.value.schema_version;
  const current = version === OLDER_VERSION ? ofOlderVersion(data.value) : data.value;
  const reader = new Reader(schema.$defs, version === SCHEMA_VERSION);
  const report = reader.take(schema, current, '') as Seen<Report>;
  const known = version === SCHEMA_VERSION || version === OLDER_VERSION;
  const about = [known ? null : ofAnotherVersion(version), report.words === null ? WORDLESS : null];
  return { report, notes: [...about.filter(said => said !== null), ...reader.notes()] };
}

/** A report of version 4, which had one kind of measurement, as one of this version (report.py does the same). */
function ofOlderVersion(data: Record<string, unknown>): Record<string, unknown> {
  const { measurement, layers } = data;
  const seen = ['kernel', 'pruned_kernel', 'dense_us', 'pruned_us'];
  return {
    ...data,
    measurement: isObject(measurement)
      ? { ...measurement, kind: typeof measurement.dense_ms === 'number' ? 'timed' : 'untimed' }
      : measurement,
    layers: Array.isArray(layers)
      ? layers.map((layer: unknown) =>
          isObject(layer) && seen.some(name => typeof layer[name] === 'string' || typeof layer[name] === 'number')
            ? { ...layer, evidence: 'measured' }
            : layer
        )
      : layers,
  };
}

function parsed(text: string): { value: unknown } | string {
  if (text.length > MOST_CHARACTERS) {
    const size = Math.round(text.length / 1024 / 1024);
    return `This file has ${size} MB and is not opened: a report has at most ${MOST_CHARACTERS / 1024 / 1024} MB.`;
  }
  try {
    return { value: JSON.parse(text) };
  } catch (error) {
    return `This is not an hwprune report: it is not JSON (${error instanceof Error ? error.message.slice(0, 120) : ''}).`;
  }
}

function ofAnotherVersion(version: unknown): string {
  const known = typeof version === 'number' ? `schema version ${version}` : 'no schema version';
  const cure =
    typeof version === 'number' && version < SCHEMA_VERSION
      ? 'Make the report again to see all that is known today.'
      : 'A newer jupyter-hwprune shows the rest.';
  return `This report has ${known}; this extension reads version ${SCHEMA_VERSION}. What it understands is shown. ${cure}`;
}

/** As much of JSON schema as ours uses. */
export interface Kind {
  $ref?: string;
  type?: string;
  anyOf?: Kind[];
  enum?: unknown[];
  const?: unknown;
  items?: Kind;
  properties?: Record<string, Kind>;
  required?: string[];
  additionalProperties?: Kind | boolean;
}

/** Takes values as a schema says, and notes what does not fit. */
export class Reader {
  private found: string[] = [];
  private more = 0;
  private left = MOST_VALUES;

  /** `complete`: whether a field that is not there is worth a note; in another version it is not. */
  constructor(
    private readonly definitions: Record<string, Kind>,
    private readonly complete: boolean
  ) {}

  notes(): string[] {
    if (this.found.length === 0) {
      return [];
    }
    const more = this.more > 0 ? [`and ${this.more} more`] : [];
    return [`Not all of this report can be read: ${[...this.found, ...more].join('; ')}.`];
  }

  take(kind: Kind, value: unknown, path: string): unknown {
    this.left -= 1;
    if (kind.$ref !== undefined) {
      return this.take(this.definition(kind.$ref), value, path);
    }
    if (kind.anyOf !== undefined) {
      const [inner, ...others] = kind.anyOf.filter(each => each.type !== 'null');
      if (others.length > 0) {
        return this.oneOf(kind.anyOf, value, path);
      }
      return value === null || value === undefined || inner === undefined ? null : this.takeOr(inner, value, path);
    }
    if (kind.type === 'object') {
      return this.object(kind, value, path);
    }
    if (kind.type === 'array') {
      return this.list(kind.items ?? {}, value, path);
    }
    return this.leaf(kind, value, path);
  }

  /** Of objects that their `kind` tells apart, the one that this is; the last, with the fewest fields, where none is. */
  private oneOf(kinds: Kind[], value: unknown, path: string): unknown {
    const given = isObject(value) && Object.hasOwn(value, 'kind') ? value.kind : undefined;
    const reals = kinds.map(each => (each.$ref === undefined ? each : this.definition(each.$ref)));
    const kind = reals.find(each => each.properties?.kind?.const === given);
    if (kind === undefined && isObject(value)) {
      this.wrong(`${path}.kind`, given);
    }
    return this.take(kind ?? reals.at(-1) ?? {}, value, path);
  }

  /** Of what may be null, a value of the wrong type is null, and not a shell with nothing in it. */
  private takeOr(kind: Kind, value: unknown, path: string): unknown {
    const real = kind.$ref === undefined ? kind : this.definition(kind.$ref);
    if (real.type === 'object' ? isObject(value) : real.type === 'array' ? Array.isArray(value) : true) {
      return this.take(kind, value, path);
    }
    this.note(path, `is ${named(value)}`);
    return null;
  }

  private object(kind: Kind, value: unknown, path: string): unknown {
    const given = isObject(value) ? value : {};
    if (given !== value) {
      this.wrong(path, value);
    }
    const properties = kind.properties ?? {};
    const names = kind.properties === undefined ? Object.keys(given).slice(0, 100) : Object.keys(properties);
    const rest = typeof kind.additionalProperties === 'object' ? kind.additionalProperties : {};
    const silent = given !== value;
    return Object.fromEntries(
      names.map(name => {
        const inner = Object.hasOwn(given, name) ? given[name] : undefined;
        const mayLack = inner === undefined && kind.required?.includes(name) === false;
        const at = silent || mayLack ? '' : path === '' ? name : `${path}.${name}`;
        return [name, this.take(properties[name] ?? rest, inner, at)];
      })
    );
  }

  private list(kind: Kind, value: unknown, path: string): unknown[] {
    if (!Array.isArray(value)) {
      this.wrong(path, value);
      return [];
    }
    const most = Math.max(0, Math.min(value.length, LONGEST_LIST, this.left));
    if (value.length > most) {
      this.note(path, `has ${value.length} entries, of which the first ${most} are read`);
    }
    const items = value.slice(0, most).map((item: unknown, index) => {
      if (kind.$ref !== undefined && !isObject(item)) {
        this.wrong(`${path}[${index}]`, item);
        return null;
      }
      return this.take(kind, item, `${path}[${index}]`);
    });
    return items.filter(item => item !== null);
  }

  private leaf(kind: Kind, value: unknown, path: string): unknown {
    if (kind.const !== undefined) {
      return value === kind.const ? value : null;
    }
    const fits =
      kind.enum !== undefined
        ? kind.enum.includes(value)
        : kind.type === 'integer' || kind.type === 'number'
          ? Number.isFinite(value)
          : typeof value === kind.type;
    if (!fits) {
      this.wrong(path, value);
      return null;
    }
    if (typeof value === 'string' && value.length > LONGEST_TEXT) {
      this.note(path, `has ${value.length} characters, of which the first ${LONGEST_TEXT} are read`);
      return value.slice(0, LONGEST_TEXT);
    }
    return value;
  }

  private definition(reference: string): Kind {
    return this.definitions[reference.replace('#/$defs/', '')] ?? {};
  }

  private wrong(path: string, value: unknown): void {
    if (value !== undefined || this.complete) {
      this.note(path, value === undefined ? 'is missing' : `is ${named(value)}`);
    }
  }

  /** Parts of what is itself missing have no path, and no note of their own. */
  private note(path: string, said: string): void {
    if (path === '') {
      return;
    }
    if (this.found.length < MOST_NOTES) {
      this.found.push(`${path.slice(0, 80)} ${said}`);
    } else {
      this.more += 1;
    }
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function named(value: unknown): string {
  if (value === null || value === undefined) {
    return 'nothing';
  }
  if (typeof value === 'string') {
    return `the text ${JSON.stringify(value.slice(0, 40))}${value.length > 40 ? ' and more' : ''}`;
  }
  if (typeof value === 'number' || typeof value === 'boolean') {
    return String(value);
  }
  return Array.isArray(value) ? 'a list' : 'an object';
}
