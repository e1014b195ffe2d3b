/** The form of a new training run: settings, what they would do (from the server), and where it starts from. */
import { ApiError, call } from "../api.ts";
import { endpoints } from "../../server/endpoints.ts";
import { jobKinds } from "../../server/jobKinds/registry.ts";
import type { ProbeCard, RunRecord, SubjectRequest, TrainingMethodCard, TrainingPreview } from "../../server/wire.ts";
import { nestedFields, type ParamField } from "./paramFields.ts";
import { probes } from "./probes.svelte.ts";
import { subject } from "./subject.svelte.ts";
import { type TrainingForm, changesFrom, closestField, nested, trainingForm } from "./trainingParams.ts";

const words = (error: unknown): string => (error instanceof Error ? error.message : String(error));
const previewAfterMs = 350;

export interface FormError {
  readonly field: string | null;
  readonly message: string;
  /** Not about the settings: the server could not look at them. */
  readonly isOurs: boolean;
}
export interface BranchPoint {
  readonly run: string;
  readonly step: number;
}

/** Whether its page is that of training. */
export const isTraining = ({ kind }: Pick<RunRecord, "kind">): boolean => jobKinds[kind].page === "training";

class TrainingState {
  methods = $state.raw<readonly TrainingMethodCard[]>([]);
  methodsError = $state<string | null>(null);
  /** By path, only what differs from the defaults. */
  changes = $state.raw<Readonly<Record<string, unknown>>>({});
  branchOf = $state.raw<BranchPoint | null>(null);
  /** The form is shown though a run is open. */
  isNew = $state(false);
  preview = $state.raw<TrainingPreview | null>(null);
  error = $state.raw<FormError | null>(null);
  isAsking = $state(false);

  /** What trains; null on a server that offers no training. */
  readonly card: ProbeCard | null = $derived(probes.cards.find(isTraining) ?? null);
  readonly schema: Readonly<Record<string, unknown>> | null = $derived(this.card?.params ?? null);
  readonly form: TrainingForm | null = $derived(this.schema ? trainingForm(this.schema, String(this.value("data.task") ?? "text")) : null);
  readonly method: TrainingMethodCard | null = $derived(this.methods.find(({ name }) => name === this.value("method")) ?? null);
  readonly optionFields: readonly ParamField[] = $derived(this.method ? nestedFields(this.method.options, "options.") : []);
  readonly params: Record<string, unknown> = $derived(nested(this.changes));
  /** Every setting, defaults written out: a branch takes what it is not told from the run it leaves. */
  readonly wholeParams: Record<string, unknown> = $derived(
    nested({
      ...Object.fromEntries(
        (this.form?.fields ?? []).flatMap(({ name, default: value }) => (value === undefined || name === "startFrom" ? [] : [[name, value] as const])),
      ),
      ...this.changes,
    }),
  );
  /** The settings cannot be used as they are. */
  readonly isRefused: boolean = $derived(this.error !== null && !this.error.isOurs);
  readonly subject: SubjectRequest = $derived({ model: subject.model, adapters: [] });

  #timer: ReturnType<typeof setTimeout> | null = null;
  #controller: AbortController | null = null;

  async loadMethods(): Promise<void> {
    if (this.methods.length > 0) return;
    try {
      this.methods = await call(endpoints.trainingMethods, {});
      this.methodsError = null;
    } catch (error) {
      this.methodsError = words(error);
    }
  }

  fieldOf(path: string): ParamField | undefined {
    return (this.schema ? nestedFields(this.schema) : []).find(({ name }) => name === path);
  }

  value(path: string): unknown {
    return path in this.changes ? this.changes[path] : (this.fieldOf(path) ?? this.optionFields.find(({ name }) => name === path))?.default;
  }

  set(field: ParamField, value: unknown): void {
    const { [field.name]: _dropped, ...others } = this.changes;
    const isDefault = value === undefined || JSON.stringify(value) === JSON.stringify(field.default);
    // The options of one method mean nothing to another.
    const kept = field.name === "method" ? Object.fromEntries(Object.entries(others).filter(([path]) => !path.startsWith("options."))) : others;
    this.changes = isDefault ? kept : { ...kept, [field.name]: value };
  }

  /** Settings from elsewhere: the demo, another run, an address. */
  setAll(params: Readonly<Record<string, unknown>>): void {
    this.changes = changesFrom(params, this.schema ? nestedFields(this.schema) : []);
  }

  openForm(branchOf: BranchPoint | null = null): void {
    this.branchOf = branchOf;
    this.isNew = true;
  }

  /** Asks a little after the last change, so that typing is not interrupted; an older question is dropped. */
  askPreview(): void {
    this.cancelPreview();
    const { params } = this;
    const asked = this.subject;
    if (asked.model === null || typeof this.value("data.path") !== "string" || this.value("data.path") === "") {
      this.preview = null;
      this.error = null;
      return;
    }
    this.isAsking = true;
    this.#timer = setTimeout(() => void this.#ask(asked, params), previewAfterMs);
  }

  cancelPreview(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#controller?.abort();
    this.isAsking = false;
  }

  async #ask(asked: SubjectRequest, params: Readonly<Record<string, unknown>>): Promise<void> {
    const controller = new AbortController();
    this.#controller = controller;
    try {
      const preview = await call(endpoints.trainingPreview, { subject: asked, params }, controller);
      if (controller.signal.aborted) return;
      this.preview = preview;
      this.error = null;
    } catch (error) {
      if (controller.signal.aborted) return;
      this.preview = null;
      this.error = this.errorFrom(error);
    } finally {
      if (this.#controller === controller) this.isAsking = false;
    }
  }

  errorFrom(error: unknown): FormError {
    const message = words(error);
    // What has no input of its own in the form stands alone.
    const fields = (this.form?.fields ?? []).filter(({ name }) => name !== "options" && name !== "startFrom");
    const paths = [...fields, ...this.optionFields].map(({ name }) => name);
    const isOurs = error instanceof ApiError && (error.code === "internal" || error.code === "unreachable");
    const field = isOurs || !(error instanceof ApiError) ? null : closestField(error.field, paths);
    return { field, message, isOurs };
  }
}
export const training = new TrainingState();
