/** A place in the network as an address has it: one writer and one reader, for the server and the page. */
import type { Place } from "../probes/result.ts";

const placeKeys = ["layer", "stack", "position", "head", "component", "site", "adapter"] as const;

/** "layer:3!position:5!site:mlp_out" */
export const placeText = (place: Place): string =>
  placeKeys.flatMap((key) => (place[key] === undefined ? [] : [`${key}:${place[key]}`.replaceAll("!", "%21")])).join("!");

/** Null when it is none. */
export function placeFromText(text: string): Place | null {
  const place: { -readonly [K in keyof Place]: Place[K] } = {};
  for (const part of text.split("!").map((each) => each.replaceAll("%21", "!"))) {
    const at = part.indexOf(":");
    const [key, value] = [part.slice(0, at), part.slice(at + 1)];
    if (key === "site" || key === "adapter" || key === "stack") place[key] = value;
    else if (key === "layer" || key === "position" || key === "head" || key === "component") {
      if (!/^\d+$/.test(value)) return null;
      place[key] = Number(value);
    } else return null;
  }
  return place;
}
