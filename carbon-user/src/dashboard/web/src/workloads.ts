// Workloads: whose energy it was, from namespaces down to one container and its domains.

import { ask, total, type Power, type Row, type Workloads } from "./api";
import { card, choice, energy, h, named, notes } from "./dom";
import { nowCells } from "./live";
import { processesNow } from "./processes";
import { emissions, onlyRuns, powerChart, rows, short, some, sums, type Go } from "./rows";
import { interval, link, type State } from "./state";

const BY: [string, string][] = [
  ["workload", "workload"], ["namespace", "namespace"], ["pod", "pod"], ["container", "container"], ["unit", "unit"],
  ["job", "job"], ["user", "user"], ["domain", "domain"], ["node", "node"],
];
/** Rows that are shown before all are asked for. */
const ROWS = 50;

/** What a row of one kind is made of. */
const INSIDE: Record<string, string> = {
  namespace: "pod", pod: "container", node: "workload", user: "unit", job: "workload", container: "workload", unit: "workload",
  workload: "domain", domain: "workload",
};

export async function workloads(state: State, go: Go, left: AbortSignal): Promise<Node[]> {
  const by = state["by"] ?? "workload";
  const within = state["within"] ?? "";
  const asked = { ...interval(state), by, within };
  const [it, power] = await Promise.all([ask<Workloads>("workloads", asked), ask<Power>("power", asked, left)]);
  const runs = it.report.total.quality === null && within === "" ? await ask<Workloads>("workloads", { ...asked, by: "project" }, left) : null;
  if (runs?.report.total.runs) return ofRunsAlone(runs, state);
  const called = (key: string) => it.names[key]?.name || short(key);
  const who = (row: Row): Node => {
    const name = named(called(row.key));
    const below = it.names[row.key];
    const inside = row.key === "(none)" || (by === "domain" && within.startsWith("workload:")) ? undefined : INSIDE[by];
    const text = inside ? h("a", { href: link(state, { by: inside, within: `${by}:${row.key}`, q: "" }) }, name) : name;
    const parts = below ? [below.namespace, below.pod, below.container ?? below.unit].filter((part) => part).join(" / ") : "";
    const where = below && (parts || below.name !== row.key) ? h("div", { class: "small" }, named(parts || row.key)) : null;
    return h("div", {}, text, where);
  };
  const body = h("div", {});
  const now = by === "workload" ? nowCells(left) : undefined;
  let most = ROWS;
  const fill = (text: string) => {
    const wanted = text.toLowerCase();
    const found = it.report.rows.filter((row) => `${row.key} ${called(row.key)}`.toLowerCase().includes(wanted));
    const shown = found.slice(0, most);
    const all = found.length > shown.length ? h("button", { type: "button", onclick: () => {
      most = Infinity;
      fill(search.value);
    } }, `Show all ${found.length}`) : null;
    body.replaceChildren(rows(shown, { label: "Energy by workload", first: who, name: (row) => called(row.key), now }, found),
      h("p", { class: "small", role: "status" }, `${shown.length} of ${it.report.rows.length} rows `, all));
  };
  const search = h("input", { type: "search", value: state["q"] ?? "", placeholder: "part of a name  ( / )", "aria-label": "Search", "aria-keyshortcuts": "/",
    oninput: () => {
      fill(search.value);
      history.replaceState(null, "", link(state, { q: search.value }));
    } });
  fill(search.value);
  const kind = within.slice(0, within.indexOf(":"));
  const back = within ? h("p", {}, `Only of ${kind} `, named(within.slice(kind.length + 1)), " \u00b7 ",
    h("a", { href: link(state, { within: "", by: kind || "workload" }) }, "back to all")) : null;
  const out = it.left_out > 0 ? h("p", { class: "small" }, `${it.left_out} rows with less energy are left out; the total has them.`) : null;
  return some([h("div", { class: "row" }, choice("By", BY, by, (value) => go({ by: value, within: "" })), search), back,
    powerChart(power, state, within ? `Power by ${by}` : "Power", called),
    kind === "workload" ? processesNow(within, left) : null,
    card(null, body, out, total(it.report.total) === null ? null : h("p", {}, `In all ${energy(total(it.report.total))}, ${emissions(it.report.total)} CO2e`),
      h("p", { class: "small" }, "The 90 % interval is that of the dynamic energy; how far static energy is off is not known, and a row of it alone has none."),
      within ? null : sums(it.report.reconciliation)),
    notes(it.report.notes)]);
}

/** Where nothing was recorded of the machine's workloads, the projects of runs are what there is. */
function ofRunsAlone(it: Workloads, state: State): Node[] {
  const who = (row: Row): Node => (row.key === "(none)" ? named("(no project)")
    : h("a", { href: link(state, { page: "runs", by: "", q: "", project: row.key }) }, named(row.key)));
  return some([onlyRuns(it.report.total, state),
    card("By project", rows(it.report.rows, { label: "Energy of runs by project", first: who, name: (row) => row.key }),
      h("p", {}, `In all ${energy(total(it.report.total))}, ${emissions(it.report.total)} CO2e`)),
    notes(it.report.notes)]);
}
