/** How far the leading component of ΔW turned since the look before, and since it first was there. */
import { float32 } from "../../tensors/hostTensor.ts";
import { dot } from "../../linalg/vectors.ts";
import { siteCurves, type Monitor } from "./monitor.ts";
import type { SiteSpectrum } from "./siteSpectrum.ts";

type Leading = NonNullable<SiteSpectrum["leading"]>;
const ends = ["previous", "first"] as const;

export const rotation: Monitor = {
  title: "Rotation",
  summary: "Cosine of the leading component u vᵀ of ΔW with itself at the look before, its read and write directions apart, and with its first look.",
  beside: "spectra",
  applies: ({ adaptation }) => adaptation.sites.length > 0,
  arrays: (run) => ["turn", "turn_in", "turn_out", "turn_since_first"].map((name) => siteCurves(run, name)),
  start({ adaptation: { sites } }) {
    const held = { previous: new Map<string, Leading>(), first: new Map<string, Leading>() };
    return {
      async look(moment) {
        const empty = () => new Float32Array(sites.length).fill(NaN);
        const out = { turn: empty(), turn_in: empty(), turn_out: empty(), turn_since_first: empty() };
        for (const [index, state] of sites.entries()) {
          const { leading } = await moment.spectrum(state);
          if (!leading) continue;
          const { name } = state.site;
          const before = held.previous.get(name);
          const first = held.first.get(name);
          if (before) {
            out.turn[index] = componentCosine(leading, before);
            out.turn_in[index] = Math.abs(cosine(leading.right, before.right));
            out.turn_out[index] = Math.abs(cosine(leading.left, before.left));
          }
          if (first) out.turn_since_first[index] = componentCosine(leading, first);
          else held.first.set(name, leading);
          held.previous.set(name, leading);
        }
        return out;
      },
      state: () =>
        Object.fromEntries(
          ends.flatMap((end) =>
            [...held[end]].flatMap(([site, { left, right }]) => [
              [`${end}:left:${site}`, float32(left, [left.length])],
              [`${end}:right:${site}`, float32(right, [right.length])],
            ]),
          ),
        ),
      restore(state) {
        for (const end of ends) {
          for (const { site } of sites) {
            const [left, right] = [state[`${end}:left:${site.name}`], state[`${end}:right:${site.name}`]];
            if (left && right) held[end].set(site.name, { left: left.data, right: right.data });
          }
        }
      },
    };
  },
};

/** ⟨u vᵀ, u′ v′ᵀ⟩ = (u·u′)(v·v′): the sign that a singular pair leaves open cancels, so −1 is a reversed component. */
function componentCosine(a: Leading, b: Leading): number {
  return cosine(a.left, b.left) * cosine(a.right, b.right);
}

/** Of unit vectors: their product. */
function cosine(a: Float32Array, b: Float32Array): number {
  return dot(new Float64Array(a), new Float64Array(b));
}
