/** The probes on offer, the one that is open, and what was changed from their defaults. */
import type { ProbeCard } from "../../server/wire.ts";
import { paramFields, requiredFields, schemaProperties, type ParamField } from "./paramFields.ts";
import { prompts } from "./prompts.svelte.ts";
import { subject } from "./subject.svelte.ts";
import { promptNames, type PromptName } from "./view.ts";

class ProbesState {
  cards = $state.raw<readonly ProbeCard[]>([]);
  active = $state<string | null>(null);
  /** By probe, only what differs from the defaults. */
  changed = $state.raw<Readonly<Record<string, Readonly<Record<string, unknown>>>>>({});

  readonly card: ProbeCard | null = $derived(this.cards.find(({ name }) => name === this.active) ?? null);
  readonly fields: readonly ParamField[] = $derived(this.card ? paramFields(this.card.params) : []);
  readonly params: Readonly<Record<string, unknown>> = $derived(this.card ? requestParams(this.card, this.changed[this.card.name] ?? {}) : {});
  /** Why it cannot run yet, in words; null when it can. */
  readonly obstacle: string | null = $derived.by(() => {
    if (!this.card) return null;
    const on = subject.adapters.filter(({ isOn }) => isOn).length;
    const { min, max } = this.card.adapters;
    if (this.card.needs !== "weights" && subject.model === null) return "Open a base model first.";
    if (on < min) return min === 1 ? "Needs an adapter that is on." : `Needs ${min} adapters that are on; ${on} of ${subject.adapters.length} are.`;
    if (on > max) return `Takes at most ${max} ${max === 1 ? "adapter" : "adapters"}; ${on} are on. Click a dot to switch one off.`;
    const required = requiredFields(this.card.params);
    const missing = required.find((name) => promptNameOf(name) !== null && this.params[name] === undefined);
    return missing === undefined ? null : `Fill in ${promptWords[promptNameOf(missing) ?? "clean"]} at the left.`;
  });

  value(field: ParamField): unknown {
    const own = this.active === null ? undefined : this.changed[this.active]?.[field.name];
    return own === undefined ? field.default : own;
  }

  set(field: ParamField, value: unknown): void {
    if (this.active === null) return;
    const { [field.name]: _dropped, ...others } = this.changed[this.active] ?? {};
    const isDefault = value === undefined || JSON.stringify(value) === JSON.stringify(field.default);
    this.changed = { ...this.changed, [this.active]: isDefault ? others : { ...others, [field.name]: value } };
  }

  /** Parameters given from elsewhere (a link, the demo, a next step); prompts are not among them. */
  setAll(probe: string, params: Readonly<Record<string, unknown>>): void {
    const card = this.cards.find(({ name }) => name === probe);
    const fields = card ? paramFields(card.params) : [];
    const own = Object.fromEntries(
      Object.entries(params).filter(([name, value]) => fields.some((field) => field.name === name && JSON.stringify(field.default) !== JSON.stringify(value))),
    );
    this.changed = { ...this.changed, [probe]: own };
  }
}

export const promptWords: Record<PromptName, string> = {
  clean: "the clean prompt",
  corrupted: "the corrupted prompt",
  answer: "the answer",
  counterAnswer: "the counter-answer",
};

/** A probe that reads one prompt gets the clean one. */
function promptNameOf(field: string): PromptName | null {
  return field === "prompt" ? "clean" : (promptNames.find((name) => name === field) ?? null);
}

function requestParams(card: ProbeCard, changed: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const shared = Object.keys(schemaProperties(card.params)).flatMap((field) => {
    const name = promptNameOf(field);
    return name === null || prompts.texts[name] === "" ? [] : [[field, prompts.texts[name]] as const];
  });
  return { ...Object.fromEntries(shared), ...changed };
}

export const probes = new ProbesState();
