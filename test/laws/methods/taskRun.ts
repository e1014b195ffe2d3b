/** A short run of the trainer on one of fixtures/tasks, over the demo's base: for what a paper says of a method. */
import { fileURLToPath } from "node:url";
import { openTokenizer } from "../../../server/formats/tokenizer.ts";
import { loadModel } from "../../../server/models/loadModel.ts";
import { sharedEngine } from "../../../server/runs/subject.ts";
import { trainedCount, type Adaptation } from "../../../server/training/adaptation.ts";
import { loadDataset } from "../../../server/data/dataset.ts";
import { Trainer } from "../../../server/training/trainer.ts";
import { trainingParams } from "../../../server/training/trainingParams.ts";
import { temporaryDir } from "./harness.ts";
import { lawEngine } from "../../lawEngine.ts";

const fixtures = fileURLToPath(new URL("../../../fixtures/", import.meta.url));
const tasks = {
  reversal: { file: "reversal.txt", validation: "reversal.validation.txt", task: "text" },
  facts: { file: "facts.jsonl", validation: "facts.validation.jsonl", task: "completion" },
} as const;

export interface TaskRun {
  readonly adaptation: Adaptation;
  readonly parameters: number;
  /** Mean over the held-out predictions before and after, in nats. */
  readonly before: number;
  readonly after: number;
}

export async function taskRun(
  task: keyof typeof tasks,
  method: string,
  options: object,
  { steps, learningRate, targetModules, seed }: { steps: number; learningRate: number; targetModules: string[] | string; seed: number },
): Promise<TaskRun> {
  const { file, validation, task: kind } = tasks[task];
  const model = loadModel(`${fixtures}demo/base`);
  const params = trainingParams.parse({
    method,
    options,
    seed,
    steps,
    sites: { targetModules },
    data: { path: `${fixtures}tasks/${file}`, validationPath: `${fixtures}tasks/${validation}`, task: kind },
    batchSize: 16,
    evaluateEvery: steps,
    checkpointEvery: steps,
    optimizer: { learningRate, warmupSteps: 5 },
  });
  const dataset = loadDataset(params.data, openTokenizer(model.path), { nCtx: model.config.nCtx, seed });
  const trainer = new Trainer({ model, params, dataset, engine: await sharedEngine({ engine: lawEngine }), folder: temporaryDir() });
  await trainer.prepare();
  const losses: number[] = [];
  for await (const event of trainer.run(new AbortController().signal)) if (event.type === "evaluation") losses.push(event.loss);
  return { adaptation: trainer.adaptation, parameters: trainedCount(trainer.adaptation), before: losses[0]!, after: losses.at(-1)! };
}
