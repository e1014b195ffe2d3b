/** Settings of a training run as the form holds them: by path only what differs from the defaults; nested as the wire has them. */
import { nestedFields, type ParamField, type Schema } from "./paramFields.ts";

/** "optimizer.learningRate" → its value. */
export type Changes = Readonly<Record<string, unknown>>;

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> => typeof value === "object" && value !== null && !Array.isArray(value);
const same = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b);

/** `{ "data.path": p }` → `{ data: { path: p } }` */
export function nested(changes: Changes): Record<string, unknown> {
  const whole: Record<string, unknown> = {};
  for (const [path, value] of Object.entries(changes)) {
    const parts = path.split(".");
    let at = whole;
    for (const part of parts.slice(0, -1)) {
      const inside = at[part];
      const next: Record<string, unknown> = isRecord(inside) ? { ...inside } : {};
      at[part] = next;
      at = next;
    }
    at[parts.at(-1)!] = value;
  }
  return whole;
}

/** The leaves of nested settings by path; `leaves` are taken whole though they have parts. */
export function flattened(params: Readonly<Record<string, unknown>>, leaves: ReadonlySet<string> = new Set(), path = ""): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(params).flatMap(([name, value]) => {
      const whole = path + name;
      return isRecord(value) && Object.keys(value).length > 0 && !leaves.has(whole)
        ? Object.entries(flattened(value, leaves, `${whole}.`))
        : [[whole, value] as const];
    }),
  );
}

export interface PinnedPrompt {
  readonly prompt: string;
  readonly answer: string | null;
  readonly counterAnswer: string | null;
}

/** The value of `probes.prompts`; what is no pinned prompt is left out. */
export function pinnedPrompts(value: unknown): readonly PinnedPrompt[] {
  const text = (each: unknown): string | null => (typeof each === "string" ? each : null);
  return Array.isArray(value)
    ? value.flatMap((item: unknown) =>
        isRecord(item) && typeof item["prompt"] === "string"
          ? [{ prompt: item["prompt"], answer: text(item["answer"]), counterAnswer: text(item["counterAnswer"]) }]
          : [],
      )
    : [];
}

export interface FieldGroup {
  readonly id: string;
  readonly title: string;
  readonly fields: readonly ParamField[];
}

/** Shown at once, in this order; everything else of the schema is folded away under the name of its part. */
const plainPaths: Readonly<Record<string, readonly string[]>> = {
  data: ["data.path", "data.task", "data.validationFraction", "data.maxLength"],
  sites: ["sites.targetModules", "sites.layers"],
  schedule: ["steps", "epochs", "batchSize", "optimizer.learningRate", "optimizer.schedule"],
};
/** Fields with a place of their own in the form. */
const ownPaths: ReadonlySet<string> = new Set(["name", "method", "options", "startFrom", "probes.prompts"]);
const titles: Readonly<Record<string, string>> = {
  data: "Data",
  sites: "Where",
  schedule: "How long and how fast",
  optimizer: "Optimizer",
  probes: "What is looked at",
  run: "Run",
};

/** Columns that a kind of task reads. */
const taskColumns: Readonly<Record<string, readonly string[]>> = { text: ["text"], completion: ["prompt", "completion"], classification: ["text", "label"] };

export interface TrainingForm {
  readonly fields: readonly ParamField[];
  readonly plain: readonly FieldGroup[];
  readonly folded: readonly FieldGroup[];
}

export function trainingForm(schema: Schema, task: string): TrainingForm {
  const fields = nestedFields(schema);
  const columns = (taskColumns[task] ?? []).map((column) => `data.columns.${column}`);
  const plain = Object.entries(plainPaths).map(([id, paths]) => ({
    id,
    title: titles[id] ?? id,
    fields: [...paths.slice(0, 2), ...(id === "data" ? columns : []), ...paths.slice(2)].flatMap((path) => fields.find(({ name }) => name === path) ?? []),
  }));
  const shown = new Set(plain.flatMap((group) => group.fields.map(({ name }) => name)));
  const rest = fields.filter(({ name }) => !shown.has(name) && !ownPaths.has(name));
  const part = ({ name }: ParamField): string => (name.includes(".") ? name.slice(0, name.indexOf(".")) : "run");
  const folded = [...new Set(rest.map(part))].map((id) => ({ id, title: titles[id] ?? id, fields: rest.filter((field) => part(field) === id) }));
  return { fields, plain, folded };
}

/** What differs from the defaults, by path; the method's own options are kept as given. */
export function changesFrom(params: Readonly<Record<string, unknown>>, fields: readonly ParamField[]): Record<string, unknown> {
  const leaves = new Set(fields.map(({ name }) => name).filter((name) => name !== "options"));
  const known = new Map(fields.map((field) => [field.name, field]));
  return Object.fromEntries(
    Object.entries(flattened(params, leaves)).filter(
      ([path, value]) => path.startsWith("options.") || (path !== "options" && path !== "startFrom" && !same(known.get(path)?.default, value)),
    ),
  );
}

/** The field of the form that a parameter is in: itself, or the one that it is a part of ("options.earlier" of "options.earlier.0"). */
export function closestField(parameter: string | null, paths: readonly string[]): string | null {
  if (parameter === null || paths.includes(parameter)) return parameter;
  const end = parameter.lastIndexOf(".");
  return end < 0 ? null : closestField(parameter.slice(0, end), paths);
}
