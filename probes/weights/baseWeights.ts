/** The base weight under an adapter's site. */
import { baseWeight } from "../../server/adapters/loadAdapter.ts";
import type { SiteAdapter } from "../../server/adapters/method.ts";
import type { LoadedModel } from "../../server/models/loadModel.ts";
import { modelSites, type ModelSite } from "../../server/models/modelSites.ts";
import type { Weight } from "../../server/tensors/engine.ts";

export interface BaseOfSite {
  readonly weight: Weight;
  readonly stored: ModelSite["stored"];
}

/** @returns null for a site that the model does not have, as where there is no model */
export function baseWeights(model: LoadedModel | null): (site: SiteAdapter) => BaseOfSite | null {
  if (!model) return () => null;
  const known = new Map(modelSites(model.family, model.config).map((spec) => [spec.fullName, spec]));
  return ({ site }) => {
    const spec = known.get(site);
    return spec ? { weight: baseWeight(model, spec), stored: spec.stored } : null;
  };
}
