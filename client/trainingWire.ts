/** What the training routes answer. */

/** An adapter method as the form offers it. */
export interface TrainingMethodCard {
  readonly name: string;
  readonly title: string;
  readonly source: string;
  /** How surely the definition is the paper's: reconstructed parts say so. */
  readonly exactness: string;
  /** JSON Schema of the method's own options, with defaults and descriptions. */
  readonly options: Record<string, unknown>;
}

/** What a run would train, need and read, before it starts. */
export interface TrainingPreview {
  readonly sites: readonly { readonly name: string; readonly parameters: number; readonly dIn: number; readonly dOut: number }[];
  readonly parameters: number;
  readonly baseParameters: number;
  readonly memory: readonly { readonly label: string; readonly bytes: number }[];
  readonly steps: number;
  readonly data: {
    readonly examples: number;
    readonly validation: number;
    readonly tokens: number;
    readonly lossTokens: number;
    /** Examples that were cut at the longest length. */
    readonly cut: number;
    readonly labels: readonly string[];
    readonly tasks: readonly string[];
    readonly first: readonly { readonly tokens: readonly string[]; readonly lossWeights: readonly number[]; readonly label: string | null }[];
  };
  readonly warnings: readonly string[];
}
