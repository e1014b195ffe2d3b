/** The model and adapters that are looked at. A change counts only once the server could open it. */
import { call } from "../api.ts";
import { endpoints } from "../../server/endpoints.ts";
import { adapterPalette } from "../figures/theme.ts";
import type { SubjectCard, SubjectRequest } from "../../server/wire.ts";
import { recents } from "./recents.svelte.ts";
import { theme } from "./theme.svelte.ts";
import type { AdapterView } from "./view.ts";

const words = (error: unknown): string => (error instanceof Error ? error.message : String(error));

class SubjectState {
  model = $state<string | null>(null);
  adapters = $state.raw<readonly AdapterView[]>([]);
  card = $state.raw<SubjectCard | null>(null);
  modelError = $state<string | null>(null);
  adapterError = $state<string | null>(null);
  isOpening = $state(false);

  readonly names: readonly string[] = $derived(
    this.adapters.map((adapter, index) => this.card?.adapters[index]?.name ?? adapter.name ?? lastPart(adapter.path)),
  );
  readonly colours: Readonly<Record<string, string>> = $derived(adapterPalette(this.names, theme.colours));
  /** Adapters that are off are left out: base and adapted then differ by the others alone. */
  readonly request: SubjectRequest = $derived(
    subjectRequest(
      this.model,
      this.adapters.filter(({ isOn }) => isOn),
    ),
  );

  /** @returns whether the server could open it; if not, everything stays as it was */
  async open(model: string | null, adapters: readonly AdapterView[], blame: "model" | "adapter"): Promise<boolean> {
    this.isOpening = true;
    this.modelError = null;
    this.adapterError = null;
    try {
      this.card = await call(endpoints.openSubject, subjectRequest(model, withDistinctNames(adapters)));
      this.model = model;
      this.adapters = withDistinctNames(adapters);
      for (const { path } of adapters.toReversed()) recents.add({ kind: "adapter", path });
      if (model !== null) recents.add({ kind: "model", path: model });
      return true;
    } catch (error) {
      if (blame === "model") this.modelError = words(error);
      else this.adapterError = words(error);
      return false;
    } finally {
      this.isOpening = false;
    }
  }

  addAdapter(path: string): Promise<boolean> {
    return this.open(this.model, [...this.adapters, { path, name: null, strength: 1, isOn: true }], "adapter");
  }

  /** Two adapters on and in this order; the others of the same base stay, switched off. */
  openPair(model: string | null, pair: readonly [AdapterView, AdapterView]): Promise<boolean> {
    return this.open(model, withOthersOff(pair, model === this.model ? this.adapters : []), "adapter");
  }

  removeAdapter(index: number): Promise<boolean> {
    return this.open(this.model, this.adapters.toSpliced(index, 1), "adapter");
  }

  change(index: number, change: Partial<AdapterView>): void {
    this.adapters = this.adapters.map((adapter, at) => (at === index ? { ...adapter, ...change } : adapter));
  }
}

export const lastPart = (path: string): string => path.split(/[\\/]/).findLast((part) => part !== "") ?? path;

function subjectRequest(model: string | null, adapters: readonly AdapterView[]): SubjectRequest {
  return { model, adapters: adapters.map(({ path, name, strength }) => ({ path, strength, ...(name === null ? {} : { name }) })) };
}

/** An adapter that stays gives up a name the pair takes. */
export function withOthersOff(pair: readonly AdapterView[], others: readonly AdapterView[]): AdapterView[] {
  const staying = others.filter(({ path }) => pair.every((one) => one.path !== path));
  return [...pair, ...staying.map((adapter) => ({ ...adapter, isOn: false, name: pair.some(({ name }) => name === adapter.name) ? null : adapter.name }))];
}

/** Two checkpoints of one training run are often both called "checkpoint-100": the later ones get a number. */
function withDistinctNames(adapters: readonly AdapterView[]): AdapterView[] {
  const taken = adapters.flatMap(({ name }) => name ?? []);
  return adapters.map((adapter) => {
    if (adapter.name !== null) return adapter;
    const plain = lastPart(adapter.path).replaceAll(/[^\w-]/g, "_");
    let count = 1;
    const name = () => (count === 1 ? plain : `${plain}_${count}`);
    while (taken.includes(name())) count += 1;
    taken.push(name());
    return count === 1 ? adapter : { ...adapter, name: name() };
  });
}

export const subject = new SubjectState();
