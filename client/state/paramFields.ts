/** From a JSON Schema of parameters to the fields of its form. */
import { promptNames } from "./view.ts";

export type ParamField = {
  /** Path of the parameter, "optimizer.learningRate". */
  readonly name: string;
  readonly label: string;
  readonly description: string;
  readonly default: unknown;
  readonly isRequired: boolean;
  /** Whether it may be left empty, which then is null. */
  readonly isNullable: boolean;
} & (
  | { readonly kind: "choice" | "choices"; readonly options: readonly string[] }
  | { readonly kind: "number"; readonly min: number | null; readonly max: number | null; readonly step: number | null }
  /** `hasWord`: one word or pattern stands for a whole list, too. */
  | { readonly kind: "list"; readonly items: "string" | "integer"; readonly hasWord: boolean }
  | { readonly kind: "boolean" | "text" | "json" }
);

export type Schema = Readonly<Record<string, unknown>>;
const isSchema = (value: unknown): value is Schema => typeof value === "object" && value !== null && !Array.isArray(value);
const strings = (value: unknown): string[] | null => (Array.isArray(value) && value.every((item) => typeof item === "string") ? value : null);
const finite = (value: unknown): number | null => (typeof value === "number" && Math.abs(value) < Number.MAX_SAFE_INTEGER ? value : null);

/** Fields that the left rail fills. */
export const sharedFields: ReadonlySet<string> = new Set([...promptNames, "prompt"]);

/** "nullSamples" → "null samples" */
export const fieldLabel = (name: string): string =>
  name
    .replace(/([a-z])([A-Z])/g, "$1 $2")
    .replaceAll("_", " ")
    .toLowerCase();

export function schemaProperties(schema: Schema): Readonly<Record<string, Schema>> {
  const { properties } = schema;
  return isSchema(properties) ? Object.fromEntries(Object.entries(properties).flatMap(([name, value]) => (isSchema(value) ? [[name, value]] : []))) : {};
}

export function requiredFields(schema: Schema): readonly string[] {
  return strings(schema["required"]) ?? [];
}

/** One of several shapes: without null, and a list that one word may stand for. */
function unwrapped(property: Schema): { readonly schema: Schema; readonly isNullable: boolean; readonly hasWord: boolean } {
  const { type } = property;
  if (Array.isArray(type) && type.length === 2 && type.includes("null")) {
    const only: unknown = type.find((each) => each !== "null");
    return { schema: { ...property, type: only }, isNullable: true, hasWord: false };
  }
  const choices = Array.isArray(property["anyOf"]) ? property["anyOf"].filter(isSchema) : [];
  const others = choices.filter(({ type }) => type !== "null");
  const isNullable = others.length < choices.length;
  const list = others.find(({ type }) => type === "array");
  if (list && others.length === 2 && others.some(({ type }) => type === "string")) return { schema: list, isNullable, hasWord: true };
  return { schema: others.length === 1 ? others[0]! : property, isNullable, hasWord: false };
}

function paramField(name: string, property: Schema, isRequired: boolean): ParamField {
  const { schema, isNullable, hasWord } = unwrapped(property);
  const description = [property["description"], schema["description"]].find((words) => typeof words === "string") ?? "";
  const about = { name, label: fieldLabel(name.slice(name.lastIndexOf(".") + 1)), description, default: property["default"], isRequired, isNullable };
  const options = strings(schema["enum"]);
  if (options) return { ...about, kind: "choice", options };
  const { type, items } = schema;
  if (type === "array" && isSchema(items)) {
    const itemOptions = strings(items["enum"]);
    if (itemOptions) return { ...about, kind: "choices", options: itemOptions };
    if (items["type"] === "string" || items["type"] === "integer") return { ...about, kind: "list", items: items["type"], hasWord };
  }
  if (type === "integer" || type === "number")
    return { ...about, kind: "number", min: finite(schema["minimum"]), max: finite(schema["maximum"]), step: type === "integer" ? 1 : null };
  if (type === "boolean") return { ...about, kind: "boolean" };
  if (type === "string") return { ...about, kind: "text" };
  return { ...about, kind: "json" };
}

export function paramFields(schema: Schema): ParamField[] {
  const required = requiredFields(schema);
  return Object.entries(schemaProperties(schema))
    .filter(([name]) => !sharedFields.has(name))
    .map(([name, property]) => paramField(name, property, required.includes(name)));
}

/** Fields of a schema with parts inside parts, each under its whole path. */
export function nestedFields(schema: Schema, path = ""): ParamField[] {
  const required = requiredFields(schema);
  return Object.entries(schemaProperties(schema)).flatMap(([name, property]) => {
    const inside = unwrapped(property).schema;
    const isPart = Object.keys(schemaProperties(inside)).length > 0 && !unwrapped(property).isNullable;
    return isPart ? nestedFields(inside, `${path}${name}.`) : [paramField(path + name, property, required.includes(name))];
  });
}

/** "q_proj, v_proj" or "0-3, 5" → the list; one pattern or the default's word stays a word. Null when it cannot be read. */
export function listFrom(text: string, field: ParamField & { readonly kind: "list" }): unknown {
  const trimmed = text.trim();
  if (field.hasWord && trimmed !== "" && (trimmed === field.default || /[\\^$*+?()[\]|]/.test(trimmed))) return trimmed;
  const parts = trimmed.split(/[\s,]+/).filter((part) => part !== "");
  if (field.items === "string") return parts;
  const numbers = parts.map((part) => {
    const [, from, to] = /^(\d+)(?:[-–](\d+))?$/.exec(part) ?? [];
    if (from === undefined) return null;
    return Array.from({ length: Math.max(0, Number(to ?? from) - Number(from)) + 1 }, (_, index) => Number(from) + index);
  });
  return numbers.includes(null) ? null : numbers.flat();
}

/** "adaptedIntoBase" → "adapted into base"; "resid_pre" stays, it is the field's own name. */
export const optionLabel = (option: string): string => option.replace(/([a-z])([A-Z])/g, "$1 $2").toLowerCase();

export function valueWords(value: unknown): string {
  if (typeof value === "string") return optionLabel(value);
  if (Array.isArray(value)) return value.map(valueWords).join(", ");
  if (typeof value === "boolean") return value ? "yes" : "no";
  return JSON.stringify(value);
}
