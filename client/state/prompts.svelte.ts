/** The prompt pair and answers, and how the model's tokenizer sees each of them. */
import { call } from "../api.ts";
import { endpoints } from "../../server/endpoints.ts";
import { subject } from "./subject.svelte.ts";
import { noPrompts, promptNames, type PromptName, type PromptTexts } from "./view.ts";

const tokenizeAfterMs = 120;

class PromptsState {
  texts = $state.raw<PromptTexts>(noPrompts);
  error = $state<string | null>(null);
  /** Tokens by text, for the model that is open. */
  #known = $state.raw<ReadonlyMap<string, readonly string[]>>(new Map());
  #model: string | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;

  readonly tokens: Readonly<Record<PromptName, readonly string[] | null>> = $derived({
    clean: this.#tokensOf(this.texts.clean),
    corrupted: this.#tokensOf(this.texts.corrupted),
    answer: this.#tokensOf(this.texts.answer),
    counterAnswer: this.#tokensOf(this.texts.counterAnswer),
  });
  /** In words when the pair cannot be patched position by position. */
  readonly mismatch: string | null = $derived.by(() => {
    const { clean, corrupted } = this.tokens;
    if (!clean || !corrupted || corrupted.length === 0 || clean.length === corrupted.length) return null;
    return `Clean has ${clean.length} tokens, corrupted ${corrupted.length}; patching by position needs the same number.`;
  });

  set(name: PromptName, text: string): void {
    this.texts = { ...this.texts, [name]: text };
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.tokenize(), tokenizeAfterMs);
  }

  setAll(texts: PromptTexts): void {
    this.texts = texts;
    void this.tokenize();
  }

  async tokenize(): Promise<void> {
    const { model } = subject;
    if (model !== this.#model) {
      this.#model = model;
      this.#known = new Map();
    }
    if (model === null || subject.card?.model?.hasTokenizer !== true) return;
    const missing = [...new Set(promptNames.map((name) => this.texts[name]))].filter((text) => text !== "" && !this.#known.has(text));
    try {
      const found = await Promise.all(
        missing.map(async (text) => [text, (await call(endpoints.tokenize, { subject: { model, adapters: [] }, text })).tokens] as const),
      );
      if (this.#model === model) this.#known = new Map([...this.#known, ...found]);
      this.error = null;
    } catch (error) {
      this.error = error instanceof Error ? error.message : String(error);
    }
  }

  #tokensOf(text: string): readonly string[] | null {
    return text === "" ? [] : (this.#known.get(text) ?? null);
  }
}
export const prompts = new PromptsState();
