/** The file that `deltascope train` reads: a model and the training parameters, as JSON that may have // comments. */
import { readFileSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, resolve } from "node:path";
import * as z from "zod";
import { WorkbenchError } from "../errors.ts";
import { trainingParams, type TrainingParams } from "../training/trainingParams.ts";

export const trainConfig = trainingParams.extend({ model: z.string().describe("Base model: a folder with config.json, tokenizer.json and *.safetensors") });

export interface TrainConfig {
  readonly model: string;
  readonly params: TrainingParams;
}

/**
 * @param text a file, or the JSON itself; paths inside are relative to the file, or to this folder
 * @throws "usage.badFlag" naming the file and the field
 */
export function readTrainConfig(text: string): TrainConfig {
  const isInline = text.trimStart().startsWith("{");
  const name = isInline ? "--config" : text;
  return parseConfig(isInline ? text : readFile(text), name, isInline ? process.cwd() : dirname(resolve(text)));
}

function readFile(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (cause) {
    throw new WorkbenchError("usage.badFlag", `--config ${path}: the file cannot be read`, { cause });
  }
}

function parseConfig(text: string, name: string, folder: string): TrainConfig {
  let raw: unknown;
  try {
    raw = JSON.parse(withoutComments(text));
  } catch (cause) {
    throw new WorkbenchError("usage.badFlag", `${name} is not JSON: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
  const parsed = trainConfig.safeParse(raw);
  if (!parsed.success) throw new WorkbenchError("usage.badFlag", `${name}: ${z.prettifyError(parsed.error)}`);
  const { model, ...params } = parsed.data;
  const path = (given: string): string => resolve(folder, given.startsWith("~/") ? homedir() + given.slice(1) : given);
  const { data, startFrom, options } = params;
  const earlier = options["earlier"];
  return {
    model: path(model),
    params: {
      ...params,
      data: { ...data, path: path(data.path), validationPath: data.validationPath === null ? null : path(data.validationPath) },
      startFrom: startFrom && { ...startFrom, folder: path(startFrom.folder) },
      options: Array.isArray(earlier) ? { ...options, earlier: earlier.map((one: unknown) => (typeof one === "string" ? path(one) : one)) } : options,
    },
  };
}

/** Strings are passed over, so that a // inside one stays. Lines stay where they are, as errors name them. */
function withoutComments(text: string): string {
  return text.replaceAll(/"(?:\\.|[^"\\])*"|\/\/[^\n]*/g, (found) => (found.startsWith("/") ? "" : found));
}

/** Every parameter with its default, each under its description. */
export function defaultConfig(): string {
  return `${objectLines(asRecord(z.toJSONSchema(trainConfig, { io: "input" })), "").join("\n")}\n`;
}

const placeholders: Readonly<Record<string, string>> = { model: "path/to/model", path: "path/to/examples.jsonl" };

function objectLines(schema: Record<string, unknown>, indent: string): string[] {
  const inner = `${indent}  `;
  const properties = Object.entries(asRecord(schema["properties"])).map(([name, field]): [string, Record<string, unknown>] => [name, asRecord(field)]);
  // The base model first: without it nothing runs.
  properties.sort(([a], [b]) => Number(b === "model") - Number(a === "model"));
  const lines = properties.flatMap(([name, field], i) => {
    const end = i === properties.length - 1 ? "" : ",";
    const choices = Array.isArray(field["enum"]) ? ` (${field["enum"].join(", ")})` : "";
    const words = typeof field["description"] === "string" ? [`${inner}// ${field["description"]}${choices}`] : [];
    if (field["properties"] !== undefined) {
      const [open, ...rest] = objectLines(field, inner);
      return [...words, `${inner}"${name}": ${open}`, ...rest.slice(0, -1), `${rest.at(-1)}${end}`];
    }
    return [...words, `${inner}"${name}": ${JSON.stringify(field["default"] ?? placeholders[name] ?? null)}${end}`];
  });
  return ["{", ...lines, `${indent}}`];
}

function asRecord(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? { ...value } : {};
}
