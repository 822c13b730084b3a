// The overview: figures at a glance, power now and over time, domains, intensity of what was used.

import { ask, total, type Overview, type Power, type Run } from "./api";
import { chart } from "./chart";
import { UNKNOWN, badge, card, clean, energy, glance, grams, h, named, notes, percent, time } from "./dom";
import { powerNow } from "./live";
import { freshness, gramsRange, latest, ofRuns, onlyRuns, powerChart, rows, short, some, sums } from "./rows";
import { interval, link, type State } from "./state";
import type { Go } from "./rows";

export async function overview(state: State, _go: Go, left: AbortSignal): Promise<Node[]> {
  const asked = interval(state);
  const [it, power] = await Promise.all([ask<Overview>("overview", asked), ask<Power>("power", asked, left)]);
  const runs = Boolean(it.interval.runs);
  // A ledger that has runs of another time only is not empty.
  const recorded = it.latest_s === null && !runs ? await ask<{ runs: Run[] }>("runs", { limit: String(RUNS_MAX) }, left) : null;
  const gpu = it.domains.filter((row) => row.key === "gpu");
  const last = latest(power, it.latest_s);
  const cards = h("div", { class: "cards" },
    glance("Power now", last?.text ?? (it.latest_s === null ? UNKNOWN : "stale"), freshness(it.latest_s), last?.modelled ? badge("modelled") : null),
    glance("Energy in this time", energy(total(it.interval)), ofRuns(it.interval), badge(it.interval.quality)),
    glance("Emissions in this time", grams(it.interval.grams), gramsRange(it.interval) ?? ""),
    glance("Today", energy(total(it.today)), `${grams(it.today.grams)} CO2e ${ofRuns(it.today)}`, badge(it.today.quality)),
    glance("This month", energy(total(it.month)), `${grams(it.month.grams)} CO2e ${ofRuns(it.month)}`, badge(it.month.quality)),
    glance("Static part", percent(it.static_ratio), runs ? "of the machine while the runs lasted" : "drawn whether anything runs or not"),
    runs ? null : glance("Accelerators", gpu.length > 0 ? energy(gpu.reduce((sum, row) => sum + (total(row) ?? 0), 0)) : "none",
      gpu.length > 0 ? "of the energy in this time" : "no meter of one in this time"),
    glance("CPU time", it.interval.quality === null ? UNKNOWN : time(it.interval.cpu_ns), runs ? ofRuns(it.interval) : "of all workloads"));
  return some([recorded && recorded.runs.length > 0 ? runsBefore(recorded.runs.length, state) : null,
    runs ? onlyRuns(it.interval, state) : null, cards, powerNow(left), runs ? null : powerChart(power, state, "Power by workload", short),
    runs ? null : card("By domain", rows(it.domains, { label: "Energy by domain", first: (row) => named(row.key), name: (row) => row.key }), sums(it.reconciliation)),
    intensityCard(power, state, "Intensity of what was used"),
    notes(it.notes),
    h("p", { class: "small" }, `Ledger ${clean(it.ledger)}, carbon ${it.version}, from ${it.from} to ${it.to}. `,
      h("a", { href: link(state, { page: "quality" }) }, "How good are these data?"))]);
}

/** Runs that are counted at most: as many as the server lists. */
const RUNS_MAX = 2000;

function runsBefore(count: number, state: State): Node {
  const many = `${count}${count >= RUNS_MAX ? " or more" : ""} ${count === 1 ? "run is" : "runs are"} recorded`;
  return card(null, h("p", {}, h("a", { href: link(state, { page: "runs", range: "365d" }) }, many),
    ". No agent has written to this ledger, so nothing is known of the machine between them."));
}

export function intensityCard(power: Power | null, state: State, title: string): Node | null {
  if (!power?.g_per_kwh.some((v) => v !== null)) return null;
  return card(title, chart(power.start_s, [{ name: "CO2e, PUE included", values: power.g_per_kwh, modelled: false }],
    { label: "Carbon intensity", unit: "g/kWh", tz: state["tz"] ?? "UTC", stacked: false }));
}
