/** Places and metrics in words. */
import type { Metric, Place } from "../../probes/result.ts";
import { indexedToken, siteKind } from "../figures/labels.ts";

const shortNames: Readonly<Record<string, string>> = { normalized: "normalised", logit_diff: "logit difference", kl: "KL", log_prob: "log-prob" };
/** Short enough for a switch: the field's own short names, else the metric's id. */
export const metricName = ({ id }: Metric): string => shortNames[id] ?? id.replaceAll("_", " ");

/** "layer 3, ·venia [5]", "L3H1", "mlp.in#0 of layer 3" */
export function placeWords(place: Place, tokens: readonly string[]): string {
  const parts: string[] = [];
  const site = place.site === undefined ? null : siteKind(place.site);
  if (place.component !== undefined) parts.push(`L${place.layer ?? "?"}.${site ?? ""}#${place.component}`);
  else if (place.head !== undefined && place.layer !== undefined) parts.push(`head L${place.layer}H${place.head}`);
  else if (place.layer !== undefined) parts.push(`layer ${place.layer}`);
  if (place.position !== undefined) parts.push(indexedToken(tokens[place.position] ?? "", place.position));
  if (place.adapter !== undefined && place.component !== undefined) parts.push(place.adapter);
  return parts.join(", ") || (site ?? place.adapter ?? "");
}
