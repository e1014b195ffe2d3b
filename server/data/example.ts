/** One example as the trainer sees it, and batches of them. */

export interface Example {
  readonly tokens: Int32Array;
  /** Weight of the loss at predicting `tokens[i]` from those before it; `[0]` is always 0. */
  readonly lossWeights: Float32Array;
  /** Index into the dataset's labels; null unless it is a classification. */
  readonly label: number | null;
  /** Index into the dataset's tasks. */
  readonly task: number;
}

export interface Dataset {
  readonly train: readonly Example[];
  readonly validation: readonly Example[];
  /** Names of the classes, sorted; empty unless it is a classification. */
  readonly labels: readonly string[];
  /** Names of the tasks; one when the data has no task column. */
  readonly tasks: readonly string[];
  /** Examples that were cut to maxLength. */
  readonly cut: number;
}

/** Examples of like length, padded at the end to one length; padding has weight 0 and, as it comes last, no token sees it. */
export interface Batch {
  readonly rows: number;
  readonly positions: number;
  /** `[rows, positions]` */
  readonly tokens: Int32Array;
  /** `[rows, positions]`: the token after each position; anything where the weight is 0. */
  readonly targets: Int32Array;
  /** `[rows, positions]` */
  readonly lossWeights: Float32Array;
  /** `[rows]`: place of the last token that is not padding. */
  readonly last: Int32Array;
  /** `[rows]`; zeros unless it is a classification. */
  readonly labels: Int32Array;
  /** `[rows]` */
  readonly tasks: Int32Array;
}
