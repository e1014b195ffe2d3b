/** What a training run has at every step and evaluation: losses, rate and the gradient's norm. */
import type { Watch } from "../../server/training/monitors/watch.ts";
import type { LinesFigure } from "../result.ts";
import { finite } from "../trainingWords.ts";
import { atEvaluations, atSteps, lineAxes, markersOf, type Series } from "./lines.ts";

/** The array that has the curve's id. */
const curve = (id: string, label: string): Series => ({ id, label, place: {}, values: { array: id } });
const heldOut = (id: string): Series => ({ ...curve(id, "held out"), x: atEvaluations.values });

export function stepFigures(watch: Watch): LinesFigure[] {
  return [loss(watch), ...heldOutAccuracy(watch), learningRate(watch), gradientNorm(watch)];
}

function loss(watch: Watch): LinesFigure {
  const isPenalised = watch.run.adaptation.method?.penalty !== undefined;
  const subtitle = `Mean over the predicted tokens · smoothed: exponential mean of about ${watch.curves.smoothing} steps`;
  return {
    ...lineAxes({ id: "loss", title: "Loss", subtitle, label: "loss", unit: "nats" }, atSteps),
    series: [
      curve("loss", "training"),
      curve("loss_smoothed", "training, smoothed"),
      heldOut("validation_loss"),
      ...(isPenalised ? [curve("penalty", "penalty")] : []),
    ],
    ...markersOf(watch),
  };
}

function heldOutAccuracy(watch: Watch): LinesFigure[] {
  const id = "validation_accuracy";
  if (finite(watch.numbers(id)).length === 0) return [];
  const words = {
    id,
    title: "Held-out predictions that were right",
    subtitle: "Share of the held-out tokens or labels whose likeliest prediction is the true one",
    label: "accuracy",
    unit: "share",
    domain: [0, 1],
  } as const;
  return [{ ...lineAxes(words, atEvaluations), series: [heldOut(id)] }];
}

function learningRate(watch: Watch): LinesFigure {
  const id = "learning_rate";
  const subtitle = `As scheduled: ${watch.run.adaptation.method ? "parameters with a rate of their own differ" : "of all weights"}`;
  return {
    ...lineAxes({ id, title: "Learning rate", subtitle, label: "learning rate", unit: "per step" }, atSteps),
    series: [curve(id, "learning rate")],
  };
}

function gradientNorm(watch: Watch): LinesFigure {
  const id = "gradient_norm_all";
  const words = {
    id,
    title: "Gradient norm of all parameters together",
    subtitle: "Before clipping, at every step",
    label: "gradient norm",
    unit: "nats per unit",
    scale: "log",
  } as const;
  return { ...lineAxes(words, atSteps), series: [curve(id, "all")], ...markersOf(watch) };
}
