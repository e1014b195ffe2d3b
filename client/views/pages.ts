/** The component of each page, and of runs side by side. */
import type { Component } from "svelte";
import type { PageName } from "../../server/jobKinds/jobKind.ts";
import CompareView from "./CompareView.svelte";
import ProbeView from "./ProbeView.svelte";
import TrainingView from "./TrainingView.svelte";

export const pageViews: Readonly<Record<PageName | "compare", Component>> = { probe: ProbeView, training: TrainingView, compare: CompareView };
