/** From a probe's JSON Schema to the fields of its form. */
import { promptNames } from "./view.ts";

export type ParamField = {
  readonly name: string;
  readonly label: string;
  readonly description: string;
  readonly default: unknown;
  readonly isRequired: boolean;
} & (
  | { readonly kind: "choice" | "choices"; readonly options: readonly string[] }
  | { readonly kind: "number"; readonly min: number | null; readonly max: number | null; readonly step: number | null }
  | { readonly kind: "boolean" | "text" | "json" }
);

type Schema = Readonly<Record<string, unknown>>;
const isSchema = (value: unknown): value is Schema => typeof value === "object" && value !== null && !Array.isArray(value);
const strings = (value: unknown): string[] | null => (Array.isArray(value) && value.every((item) => typeof item === "string") ? value : null);
const finite = (value: unknown): number | null => (typeof value === "number" && Math.abs(value) < Number.MAX_SAFE_INTEGER ? value : null);

/** Fields that the left rail fills. */
export const sharedFields: ReadonlySet<string> = new Set([...promptNames, "prompt"]);

/** "nullSamples" → "null samples" */
export const fieldLabel = (name: string): string => name.replace(/([a-z])([A-Z])/g, "$1 $2").replaceAll("_", " ").toLowerCase();

export function schemaProperties(schema: Schema): Readonly<Record<string, Schema>> {
  const { properties } = schema;
  return isSchema(properties) ? Object.fromEntries(Object.entries(properties).flatMap(([name, value]) => (isSchema(value) ? [[name, value]] : []))) : {};
}

export function requiredFields(schema: Schema): readonly string[] {
  return strings(schema["required"]) ?? [];
}

export function paramFields(schema: Schema): ParamField[] {
  const required = requiredFields(schema);
  return Object.entries(schemaProperties(schema)).filter(([name]) => !sharedFields.has(name)).map(([name, property]) => {
    const description = typeof property["description"] === "string" ? property["description"] : "";
    const about = { name, label: fieldLabel(name), description, default: property["default"], isRequired: required.includes(name) };
    const options = strings(property["enum"]);
    if (options) return { ...about, kind: "choice", options };
    const items = property["items"];
    const itemOptions = property["type"] === "array" && isSchema(items) ? strings(items["enum"]) : null;
    if (itemOptions) return { ...about, kind: "choices", options: itemOptions };
    const { type } = property;
    if (type === "integer" || type === "number") {
      return { ...about, kind: "number", min: finite(property["minimum"]), max: finite(property["maximum"]), step: type === "integer" ? 1 : null };
    }
    if (type === "boolean") return { ...about, kind: "boolean" };
    if (type === "string") return { ...about, kind: "text" };
    return { ...about, kind: "json" };
  });
}

/** "adaptedIntoBase" → "adapted into base"; "resid_pre" stays, it is the field's own name. */
export const optionLabel = (option: string): string => option.replace(/([a-z])([A-Z])/g, "$1 $2").toLowerCase();

export function valueWords(value: unknown): string {
  if (typeof value === "string") return optionLabel(value);
  if (Array.isArray(value)) return value.map(valueWords).join(", ");
  if (typeof value === "boolean") return value ? "yes" : "no";
  return JSON.stringify(value);
}
