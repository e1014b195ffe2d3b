/** The pages, by the name that the kinds of runs give them. */
import type { PageName } from "../../../server/jobKinds/jobKind.ts";
import { jobKinds, type JobKind } from "../../../server/jobKinds/registry.ts";
import type { Page } from "./page.ts";
import { probePage } from "./probe.ts";
import { trainingPage } from "./training.ts";

export const pages: Readonly<Record<PageName, Page>> = { probe: probePage, training: trainingPage };

export const pageOf = (kind: JobKind): Page => pages[jobKinds[kind].page];
