// The pages, in the order of their links. Each asks for its answers and gives what is drawn of them.

import { overview } from "./overview";
import { intensity, regions } from "./places";
import type { Go } from "./rows";
import { runs } from "./runs";
import type { State } from "./state";
import { equivalents, quality } from "./told";
import { workloads } from "./workloads";

export interface Page {
  id: string;
  title: string;
  /** It shows an interval of time. */
  timed: boolean;
  /** The signal comes when the page is left: what it follows is followed no longer. */
  draw: (state: State, go: Go, left: AbortSignal) => Promise<Node[]>;
}

export const PAGES: Page[] = [
  { id: "overview", title: "Overview", timed: true, draw: overview },
  { id: "workloads", title: "Workloads", timed: true, draw: workloads },
  { id: "runs", title: "Runs", timed: true, draw: runs },
  { id: "regions", title: "Regions", timed: false, draw: regions },
  { id: "intensity", title: "Intensity", timed: true, draw: intensity },
  { id: "equivalents", title: "Equivalents", timed: true, draw: equivalents },
  { id: "quality", title: "Data quality", timed: true, draw: quality },
];
