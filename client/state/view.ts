/** The whole view as one value, and its address: what a link holds and Back returns to. */
import type { Place } from "../../probes/result.ts";
import { adapterFromText, adapterText } from "../../server/commandText.ts";
import { placeFromText, placeText } from "../../server/placeText.ts";

export interface AdapterView {
  readonly path: string;
  readonly name: string | null;
  readonly strength: number;
  readonly isOn: boolean;
}
export interface PromptTexts {
  readonly clean: string;
  readonly corrupted: string;
  readonly answer: string;
  readonly counterAnswer: string;
}
export interface Pin {
  readonly figure: string;
  readonly place: Place;
}
export interface View {
  readonly model: string | null;
  readonly adapters: readonly AdapterView[];
  readonly prompts: PromptTexts;
  readonly probe: string | null;
  /** Only what differs from the probe's defaults. */
  readonly params: Readonly<Record<string, unknown>>;
  readonly metric: string | null;
  readonly pins: readonly Pin[];
  readonly run: string | null;
  /** The step slider's place; null follows the newest. */
  readonly step: number | null;
  /** By figure, how it is drawn where it leaves a choice. */
  readonly looks: Readonly<Record<string, string>>;
  /** By figure, the panel that is drawn alone. */
  readonly panels: Readonly<Record<string, string>>;
  /** Runs beside each other; empty when none are compared. */
  readonly compare: readonly string[];
}

export const noPrompts: PromptTexts = { clean: "", corrupted: "", answer: "", counterAnswer: "" };
export const promptNames = ["clean", "corrupted", "answer", "counterAnswer"] as const;
export type PromptName = (typeof promptNames)[number];

function adapterView(text: string, isOn: boolean): AdapterView | null {
  const read = adapterFromText(text);
  return read === null ? null : { ...read, isOn };
}

/** "positions!layer:3!position:5!site:mlp_out" */
export const pinText = ({ figure, place }: Pin): string => `${figure.replaceAll("!", "%21")}!${placeText(place)}`;

export function pinFrom(text: string): Pin | null {
  const [figure, ...parts] = text.split("!");
  const place = placeFromText(parts.join("!"));
  return figure && place ? { figure: figure.replaceAll("%21", "!"), place } : null;
}

export function viewQuery(view: View): string {
  const query = new URLSearchParams();
  if (view.model !== null) query.set("model", view.model);
  for (const adapter of view.adapters) query.append("adapter", adapterText(adapter));
  const off = view.adapters.flatMap((adapter, index) => (adapter.isOn ? [] : [index]));
  if (off.length > 0) query.set("off", off.join(","));
  for (const name of promptNames) if (view.prompts[name] !== "") query.set(name, view.prompts[name]);
  if (view.probe !== null) query.set("probe", view.probe);
  if (Object.keys(view.params).length > 0) query.set("params", JSON.stringify(view.params));
  if (view.metric !== null) query.set("metric", view.metric);
  for (const pin of view.pins) query.append("pin", pinText(pin));
  if (view.run !== null) query.set("run", view.run);
  if (view.step !== null) query.set("step", String(view.step));
  for (const [figure, look] of Object.entries(view.looks)) query.append("look", `${figure}!${look}`);
  for (const [figure, panel] of Object.entries(view.panels)) query.append("panel", `${figure}!${panel}`);
  for (const run of view.compare) query.append("compare", run);
  return query.toString();
}

/** Parts of an address that cannot be read are left out: an old link still opens what it can. */
export function viewFromQuery(text: string): View {
  const query = new URLSearchParams(text);
  const off = new Set((query.get("off") ?? "").split(","));
  return {
    model: query.get("model"),
    adapters: query.getAll("adapter").flatMap((adapter, index) => adapterView(adapter, !off.has(String(index))) ?? []),
    prompts: {
      clean: query.get("clean") ?? "",
      corrupted: query.get("corrupted") ?? "",
      answer: query.get("answer") ?? "",
      counterAnswer: query.get("counterAnswer") ?? "",
    },
    probe: query.get("probe"),
    params: record(query.get("params")),
    metric: query.get("metric"),
    pins: query
      .getAll("pin")
      .flatMap((pin) => pinFrom(pin) ?? [])
      .slice(0, 2),
    run: query.get("run"),
    step: /^\d+$/.test(query.get("step") ?? "") ? Number(query.get("step")) : null,
    looks: byFigure(query.getAll("look")),
    panels: byFigure(query.getAll("panel")),
    compare: query.getAll("compare"),
  };
}

export const isEmptyView = (view: View): boolean => view.model === null && view.adapters.length === 0 && view.run === null && view.compare.length === 0;

/** "spectra!heat" → what the figure has. */
const byFigure = (texts: readonly string[]): Record<string, string> =>
  Object.fromEntries(texts.flatMap((text) => (/^[^!]+!./.test(text) ? [[text.slice(0, text.indexOf("!")), text.slice(text.indexOf("!") + 1)] as const] : [])));

function record(text: string | null): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text ?? "{}");
    return typeof value === "object" && value !== null && !Array.isArray(value) ? { ...value } : {};
  } catch {
    return {};
  }
}
