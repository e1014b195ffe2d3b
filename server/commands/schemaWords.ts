/** Parameters of a JSON Schema as lines of words. */

/** One line a parameter: name, type, default and what it means. */
export function parameterLines({ properties, required }: Readonly<Record<string, unknown>>): string[] {
  const needed: readonly unknown[] = Array.isArray(required) ? required : [];
  return Object.entries(isRecord(properties) ? properties : {}).map(([key, schema]) => {
    const field = isRecord(schema) ? schema : {};
    const fallback = needed.includes(key) ? "required" : "default" in field ? `default ${JSON.stringify(field["default"])}` : "optional";
    return `  ${key} (${typeWords(field)}, ${fallback})${typeof field["description"] === "string" ? `: ${field["description"]}` : ""}`;
  });
}

function typeWords(field: Record<string, unknown>): string {
  if (Array.isArray(field["enum"])) return field["enum"].map((value) => JSON.stringify(value)).join(" | ");
  if (Array.isArray(field["anyOf"])) return field["anyOf"].map((option: unknown) => typeWords(isRecord(option) ? option : {})).join(" | ");
  if (field["type"] === "array") return `list of ${typeWords(isRecord(field["items"]) ? field["items"] : {})}`;
  return typeof field["type"] === "string" ? field["type"] : "any";
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
