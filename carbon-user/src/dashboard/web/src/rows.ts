// What several pages share: rows of a report, sums that must hold, power over time.

import { total, type Power, type Reconciliation, type Row } from "./api";
import { chart } from "./chart";
import { UNKNOWN, badge, card, clean, energy, grams, h, table, time, watts } from "./dom";
import { downloads } from "./download";
import { barsSvg, type Bar } from "./svg";
import { link, type State } from "./state";

/** A change of the URL, as a new page of the browser's history. */
export type Go = (change: State) => void;

/** Half of a 90 % interval, in standard deviations. */
const HALF_OF_90 = 1.645;

export const some = (nodes: (Node | null)[]): Node[] => nodes.filter((it): it is Node => it !== null);

export function emissions(row: Row): string {
  if (row.grams === null) return UNKNOWN;
  const range = gramsRange(row);
  return grams(row.grams) + (range === null ? "" : ` (${range})`);
}

/** Where the grams are nine times in ten. */
export function gramsRange(row: Row): string | null {
  if (row.grams === null || row.grams_low === null || row.grams_high === null) return null;
  return `90 %: ${grams(row.grams_low)} to ${grams(row.grams_high)}`;
}

export function sums(it: Reconciliation): Node | null {
  // Where nothing is recorded, nothing adds up either.
  if (it.metered_uj === 0 && it.attributed_uj === 0 && it.holds) return null;
  const line = `${energy(it.metered_uj)} metered = ${energy(it.attributed_uj)} attributed + ${energy(it.static_uj)} static + ${energy(it.lost_uj)} lost`;
  return h("p", { class: it.holds ? "small" : "bad" }, line, h("span", { class: it.holds ? "good" : "bad" },
    it.holds ? " \u2713 to the microjoule" : " \u2717 does not hold"));
}

/** Of how many runs a sum is, where nothing was recorded of the machine. */
export const ofRuns = (row: { runs?: number | null }): string => (row.runs ? `of ${row.runs} ${row.runs === 1 ? "run" : "runs"} ` : "");

/** Says that only runs are known of a time, how to see them, and how there would be more. */
export function onlyRuns(row: { runs?: number | null }, state: State): Node {
  return card(null, h("p", {}, "Nothing was recorded of the machine as a whole in this time. What is shown is the sum ",
    h("a", { href: link(state, { page: "runs", by: "", q: "" }) }, `${ofRuns(row).trim()} that began in it`), ". ",
    h("code", {}, "sudo carbon agent"), " records all workloads, minute by minute."));
}

/** Areas of power; one alone is a line with its interval. */
export function powerChart(power: Power, state: State, title: string, name: (key: string) => string): Node {
  const alone = power.series.length === 1;
  const lines = power.series.map((it) => ({
    name: it.key === null ? "all others" : it.name ?? name(it.key), values: it.watts, modelled: it.quality === "modelled",
    ...(alone ? band(it) : {}),
  }));
  if (lines.length === 0 || lines.every((it) => it.values.every((v) => v === null))) return card(title, h("p", { class: "empty" }, "Nothing is recorded for that time."));
  return card(title, chart(power.start_s, lines, { label: title, unit: "W", tz: state["tz"] ?? "UTC", stacked: !alone }),
    alone ? h("p", { class: "small" }, "The band is the 90 % interval of the power.") : null);
}

function band(it: Power["series"][number]): { low: (number | null)[]; high: (number | null)[] } {
  const edges = it.watts.map((v, at) => spread(v, it.stddev_watts[at] ?? null, it.quality));
  return { low: edges.map(([low]) => low), high: edges.map(([, high]) => high) };
}

/** The 90 % interval of a value: log-normal for a modelled one, which is wrong by a factor, else normal and not below zero. */
export function spread(value: number | null, stddev: number | null, quality: string | null): [number | null, number | null] {
  if (value === null || stddev === null) return [null, null];
  const half = HALF_OF_90 * stddev;
  if (quality !== "modelled" || value <= 0) return [Math.max(0, value - half), value + half];
  const factor = Math.exp(half / value);
  return [value / factor, value * factor];
}

/** The last two parts of a path tell more than its beginning. */
export function short(key: string): string {
  const parts = clean(key).split("/").filter((part) => part !== "");
  return parts.length > 2 ? `\u2026/${parts.slice(-2).join("/")}` : clean(key);
}

/** A part of the whole, with where it may be by its uncertainty. */
export function bar(part: number, whole: number, low: number, high: number, kind: string): Node {
  const fill = h("i", { class: kind });
  const range = h("b", {});
  const share = (value: number) => `${Math.min(100, Math.max(0, (100 * value) / whole))}%`;
  fill.style.width = share(part);
  range.style.left = share(low);
  range.style.width = share(Math.min(high, whole) - low);
  return h("div", { class: "bar", "aria-hidden": "true" }, fill, range);
}

/** The 90 % interval of all energy of a row: that of its dynamic part, with the other parts as they are. None where nothing tells how far it is off. */
export function edges(row: Pick<Row, "dynamic_uj" | "static_uj" | "held_uj" | "stddev_uj" | "quality">): [number | null, number | null] {
  const all = total(row);
  if (all === null || row.dynamic_uj === null || !row.stddev_uj) return [null, null];
  const [low, high] = spread(row.dynamic_uj, row.stddev_uj, row.quality);
  const rest = all - row.dynamic_uj;
  return [low === null ? null : low + rest, high === null ? null : high + rest];
}

/** The interval in words. Static energy has none: nothing is exact because nothing is known of its error. */
export function between(row: Parameters<typeof edges>[0]): string {
  const [low, high] = edges(row);
  if (low !== null && high !== null) {
    const [from, to] = [energy(low), energy(high)];
    // Narrower than three figures tell: how wide it is says more.
    return from === to ? `\u00b1 ${energy((high - low) / 2)}` : `${from} to ${to}`;
  }
  return total(row) === null || row.stddev_uj === null ? UNKNOWN : NONE;
}

const NONE = "\u2013";

export interface Told {
  label: string;
  first: (row: Row) => Node;
  name: (row: Row) => string;
  /** Power of now, in a cell that changes by itself. */
  now?: (row: Row) => Node;
}

/** Rows of a report: figures, and bars with their intervals. Files have all of them, where some are not shown. */
export function rows(of: Row[], told: Told, all: Row[] = of): Node {
  const most = Math.max(...of.map((row) => Math.min(edges(row)[1] ?? total(row) ?? 0, 4 * (total(row) ?? 0))), 1);
  const drawn = (row: Row): Node => {
    const all = total(row);
    if (all === null) return h("span", { class: "unknown" }, UNKNOWN);
    const [low, high] = edges(row);
    return bar(all, most, low ?? all, high ?? all, row.quality === "modelled" ? "model" : "");
  };
  const now = told.now;
  const list = table(told.label, [
    { head: "who", cell: told.first },
    ...(now ? [{ head: "now", number: true, live: true, cell: now }] : []),
    { head: "energy", number: true, cell: (row) => energy(total(row)) },
    { head: "with its 90 % interval", cell: drawn },
    { head: "low to high", number: true, cell: between },
    { head: "dynamic", number: true, cell: (row) => energy(row.dynamic_uj) },
    { head: "static", number: true, cell: (row) => energy(row.static_uj) },
    { head: "CPU time", number: true, cell: (row) => time(row.cpu_ns) },
    { head: "CO2e", number: true, cell: (row) => grams(row.grams) },
    { head: "quality", cell: (row) => badge(row.quality) },
  ], of);
  const cells = () => [["who", "key", "energy_uj", "energy_low_uj", "energy_high_uj", "dynamic_uj", "static_uj", "stddev_uj", "cpu_ns", "grams", "grams_low", "grams_high", "quality"],
    ...all.map((row) => [told.name(row), row.key, total(row), ...edges(row), row.dynamic_uj, row.static_uj, row.stddev_uj, row.cpu_ns, row.grams, row.grams_low, row.grams_high, row.quality])];
  const bars = (): Bar[] => of.map((row) => {
    const [low, high] = edges(row);
    return { name: told.name(row), value: total(row), modelled: row.quality === "modelled", low, high };
  });
  return h("div", {}, list, of.length > 0 ? h("div", { class: "under" }, downloads(told.label, cells, () => barsSvg(bars(), told.label, energy))) : null);
}

/** How old what is shown is; old data look different from new ones. */
export function freshness(latest_s: number | null): HTMLElement {
  if (latest_s === null) return h("span", { class: "badge stale" }, "no reading yet");
  const age_s = Math.max(0, Date.now() / 1000 - latest_s);
  return age_s < STALE_S ? h("span", { class: "badge measured" }, "up to date")
    : h("span", { class: "badge stale" }, `last reading ${time(age_s * 1e9)} ago`);
}

/** An agent writes each minute: after five of them something is wrong, or nothing runs. */
export const STALE_S = 300;

/** Mean power of the last step that is known; none where that is long ago. */
export function latest(power: Power, latest_s: number | null): { text: string; modelled: boolean } | null {
  if (latest_s === null || Date.now() / 1000 - latest_s > STALE_S) return null;
  const at = [...power.start_s.keys()].filter((at) => power.series.some((it) => (it.watts[at] ?? null) !== null)).at(-1);
  if (at === undefined) return null;
  const of = power.series.flatMap((it) => {
    const value = it.watts[at] ?? null;
    return value === null ? [] : [{ value, modelled: it.quality === "modelled" }];
  });
  return { text: watts(of.reduce((sum, it) => sum + it.value, 0)), modelled: of.some((it) => it.modelled) };
}
