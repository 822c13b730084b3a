// Runs: per project, organisation and experiment, when they ran, and two of them compared.

import { ask, total, type Compared, type Processes, type Row, type Run, type Workloads } from "./api";
import { UNKNOWN, badge, card, choice, clean, energy, field, figure, glance, grams, h, named, notes, percent, table, time } from "./dom";
import { downloads } from "./download";
import { processesOfRun } from "./processes";
import { bar, between, edges, rows, some, type Go } from "./rows";
import { interval, link, type State } from "./state";
import { barsSvg, inBox, timelineSvg } from "./svg";

const PER: [string, string][] = [["project", "project"], ["organisation", "organisation"], ["experiment", "experiment"]];

/** Where its energy is nine times in ten. */
const spanned = (run: Run) => ({ ...run, stddev_uj: run.dynamic_stddev_uj });

const called = (run: Run): string => run.name ?? (run.command.join(" ") || run.id);

export async function runs(state: State, go: Go): Promise<Node[]> {
  const narrowed = { project: state["project"], experiment: state["experiment"], organisation: state["organisation"], tag: state["tag"] };
  const per = state["per"] ?? "project";
  const asked = interval(state);
  const [a, b, one] = [state["a"], state["b"], state["run"]];
  const [it, sums, compared, processes] = await Promise.all([
    ask<{ runs: Run[] }>("runs", { ...asked, ...narrowed }),
    ask<Workloads>("workloads", { ...asked, by: per }),
    a && b ? ask<Compared>("compare", { a, b }) : null,
    one ? ask<Processes>("processes", { within: `run:${one}` }) : null,
  ]);
  const newest = [...it.runs].reverse();
  const filter = h("div", { class: "row" }, ...(["project", "experiment", "organisation", "tag"] as const).map((name) =>
    field(name, state[name] ?? "", (text) => go({ [name]: text }))));
  const group = (row: Row): Node => (row.key === "(none)" ? named(row.key) : h("a", { href: link(state, { [per]: row.key }) }, named(row.key)));
  // The sums know no filter: they say what they are of.
  const all = Object.values(narrowed).some((text) => text) ? ", of all runs of this time" : "";
  const groups = card(`Per ${per}${all}`, choice("Add up by", PER, per, (value) => go({ per: value })),
    rows(sums.report.rows, { label: `Energy of runs by ${per}`, first: group, name: (row) => row.key }));
  return some([filter, processes && one ? opened(one, processes, it.runs, state) : null, compared ? comparison(compared, it.runs, a ?? "", b ?? "") : null, timeline(it.runs, state), list(newest, state, go), groups,
    notes(sums.report.notes)]);
}

/** One run, with what it was made of. */
function opened(id: string, processes: Processes, all: Run[], state: State): Node {
  const run = all.find((it) => it.id === id);
  const facts = run ? [`${run.status}, took ${time(run.duration_ns)}, used ${energy(total(run))}, CO2e ${grams(run.grams)} `, badge(run.quality)] : [];
  return card(`Run ${clean(run ? called(run) : id).slice(0, 80)}`, h("p", {}, ...facts, " \u00b7 ", h("a", { href: link(state, { run: "" }) }, "close")),
    processesOfRun(processes));
}

function list(shown: Run[], state: State, go: Go): Node {
  const pick = (side: "a" | "b", run: Run) => h("input", { type: "radio", name: side, "aria-label": `Compare as ${side.toUpperCase()}: ${run.id}`,
    checked: state[side] === run.id, onchange: () => go({ [side]: run.id }) });
  const runs = table("Runs", [
    { head: "A", cell: (run) => pick("a", run) },
    { head: "B", cell: (run) => pick("b", run) },
    { head: "began", cell: (run) => new Date(run.start).toLocaleString(undefined, { timeZone: state["tz"] ?? "UTC" }) },
    { head: "run", cell: (run) => h("div", {}, h("a", { href: link(state, { run: run.id }) }, named(called(run))),
      h("div", { class: "small" }, clean([run.organisation, run.project, run.experiment, ...run.tags].filter((text) => text).join(" \u00b7 ")))) },
    { head: "ended", cell: (run) => h("span", { class: run.status === "done" ? null : "bad" }, run.status) },
    { head: "took", number: true, cell: (run) => time(run.duration_ns) },
    { head: "energy", number: true, cell: (run) => energy(total(run)) },
    { head: "low to high, 90 %", number: true, cell: (run) => between(spanned(run)) },
    { head: "CO2e", number: true, cell: (run) => grams(run.grams) },
    { head: "quality", cell: (run) => badge(run.quality) },
  ], shown);
  const cells = () => [["id", "start", "end", "status", "organisation", "project", "experiment", "name", "duration_ns", "energy_uj", "energy_low_uj", "energy_high_uj", "grams", "grams_low", "grams_high", "quality"],
    ...shown.map((run) => [run.id, run.start, run.end, run.status, run.organisation, run.project, run.experiment, called(run), run.duration_ns, total(run), ...edges(spanned(run)), run.grams, run.grams_low, run.grams_high, run.quality])];
  const bars = () => barsSvg(shown.map((run) => {
    const [low, high] = edges(spanned(run));
    return { name: called(run), value: total(run), low, high, modelled: run.quality === "modelled" };
  }), "Energy of runs", energy);
  return card(null, h("p", { class: "small" }, "Choose A and B to compare two."), runs, h("div", { class: "under" }, downloads("Runs", cells, bars)));
}

function timeline(all: Run[], state: State): Node | null {
  if (all.length === 0) return null;
  const spans = all.map((run) => ({ lane: run.project ?? "(no project)", name: `${called(run)}, ${time(run.duration_ns)}, ${energy(total(run))}`,
    from: Date.parse(run.start), to: run.end === null ? null : Date.parse(run.end), good: run.status === "done" }));
  const drawn = () => timelineSvg(spans, "When runs ran", state["tz"] ?? "UTC");
  const cells = () => [["project", "run", "start", "end"], ...all.map((run) => [run.project, called(run), run.start, run.end])];
  return card(null, h("div", { class: "scroll picture", tabindex: 0, role: "region", "aria-label": "Timeline of runs" }, inBox(drawn)),
    h("div", { class: "under" }, h("span", { class: "small" }, "Red ones failed or have not ended."), downloads("Timeline", cells, drawn)));
}

function comparison(it: Compared, all: Run[], a: string, b: string): Node {
  const title = (id: string, side: Compared["a"]) => {
    const run = all.find((run) => run.id === id);
    return clean(run ? called(run) : side.name).slice(0, 60);
  };
  const side = (head: string, of: Compared["a"], id: string) => glance(`${head}: ${title(id, of)}`,
    of.mean_j === null ? UNKNOWN : energy(of.mean_j * 1e6),
    `${of.runs} ${of.runs === 1 ? "run" : "runs"}${of.stddev_j === null ? "" : `, standard deviation ${energy(of.stddev_j * 1e6)}`} `, badge(of.quality));
  const range = it.change_low_ratio === null || it.change_high_ratio === null ? "one run on each side tells no interval"
    : `${percent(it.change_low_ratio)} to ${percent(it.change_high_ratio)}, p = ${it.p === null ? UNKNOWN : figure(it.p)}`;
  const most = Math.max(it.a.mean_j ?? 0, it.b.mean_j ?? 0, 1e-12);
  const bars = ([["A", it.a], ["B", it.b]] as const).map(([head, of]) => h("div", { class: "pair" }, h("span", {}, head),
    of.mean_j === null ? h("span", { class: "unknown" }, UNKNOWN) : bar(of.mean_j, most, of.mean_j, of.mean_j, of.quality === "modelled" ? "model" : "")));
  return card("Compared", h("div", { class: "cards" }, side("A", it.a, a), side("B", it.b, b),
    glance("From A to B", it.change_ratio === null ? UNKNOWN : `${it.change_ratio > 0 ? "+" : ""}${percent(it.change_ratio)}`, range)), ...bars, notes(it.notes));
}
