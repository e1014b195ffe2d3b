/** What a set of examples is asked for: a file, what a model learns of it, and where each example has its parts. */
import * as z from "zod";

export const tasks = ["text", "completion", "classification"] as const;
export type TaskKind = (typeof tasks)[number];

export const dataParams = z.strictObject({
  path: z.string().meta({ path: "file" }).describe("File with the examples: .jsonl, .csv or .txt"),
  validationPath: z
    .string()
    .meta({ path: "file" })
    .nullable()
    .default(null)
    .describe("File with the held-out examples; without it they are split off by the seed"),
  task: z
    .enum(tasks)
    .default("text")
    .describe("text: every token is predicted; completion: only the completion after a prompt; classification: a label for the whole text"),
  columns: z
    .strictObject({
      text: z.string().default("text").describe("Column or key of the text"),
      prompt: z.string().default("prompt").describe("Column or key of the prompt"),
      completion: z.string().default("completion").describe("Column or key of the completion"),
      label: z.string().default("label").describe("Column or key of the label"),
      task: z.string().nullable().default(null).describe("Column or key of the task's name, for methods with parameters per task"),
    })
    .prefault({})
    .describe("Where each example has its parts"),
  validationFraction: z.number().min(0).max(0.9).default(0.1).describe("Share of the examples held out"),
  maxLength: z.int().min(2).max(131_072).default(128).describe("Tokens an example may have; longer ones are cut at the end, and how many were is said"),
  shuffle: z.boolean().default(true).describe("Draw the examples in a new order in each epoch"),
});
export type DataParams = z.infer<typeof dataParams>;
