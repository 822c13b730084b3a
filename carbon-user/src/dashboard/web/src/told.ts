// Equivalents that people know, and how good the data are.

import { ask, total, type Equivalents, type Quality } from "./api";
import { UNKNOWN, badge, card, choice, clean, energy, figure, glance, grams, h, named, notes, percent, table, time } from "./dom";
import { downloads } from "./download";
import { gramsRange, ofRuns, onlyRuns, some, sums, type Go } from "./rows";
import { interval, type State } from "./state";
import { barsSvg } from "./svg";

/** Where distances are in miles (Unicode CLDR, supplemental data: measurement systems US and UK). */
const IN_MILES = ["US", "GB", "LR", "MM"];

/** The units of this browser's locale. */
export function units(): string {
  const region = new Intl.Locale(navigator.language).maximize().region ?? "";
  return IN_MILES.includes(region) ? "miles" : "metric";
}

export async function equivalents(state: State, go: Go): Promise<Node[]> {
  const it = await ask<Equivalents>("equivalents", interval(state));
  const chosen = state["units"] ?? units();
  const other = chosen === "metric" ? /\b(miles?|gallons?)\b/i : /\b(kilometres?|km|litres?)\b/i;
  const shown = it.equivalents.filter((row) => !other.test(row.label));
  const tiles = h("div", { class: "cards" }, ...shown.slice(0, 6).map((row) => glance(row.label, figure(row.amount), `${row.set}, ${row.year ?? "no year"}`)));
  const list = table("Equivalents", [
    { head: "as much as", cell: (row) => h("strong", {}, `${figure(row.amount)} \u00d7 ${row.label}`) },
    { head: "factor", number: true, cell: (row) => `${figure(row.per_unit)} ${row.unit}` },
    { head: "set", cell: (row) => row.set },
    { head: "year", number: true, cell: (row) => (row.year === null ? UNKNOWN : String(row.year)) },
    { head: "source", cell: (row) => clean(row.reference) },
  ], shown);
  const cells = () => [["amount", "label", "per_unit", "unit", "set", "year", "source"],
    ...shown.map((row) => [row.amount, row.label, row.per_unit, row.unit, row.set, row.year, row.reference])];
  const why = it.total.grams === null ? "Emissions of this time are not known, so nothing is equal to them."
    : "These emissions are too little for an everyday comparison.";
  const none = shown.length === 0 ? h("p", { class: "empty" }, why) : null;
  return some([h("div", { class: "row" }, choice("Units", [["metric", "metric"], ["miles", "miles and gallons"]], chosen, (value) => go({ units: value }))),
    it.total.runs ? onlyRuns(it.total, state) : null,
    h("div", { class: "cards" }, glance("Energy", energy(total(it.total)), ofRuns(it.total), badge(it.total.quality)),
      glance("Emissions", grams(it.total.grams), gramsRange(it.total) ?? "")), none ?? tiles,
    none ? null : card("With their sources", list, h("div", { class: "under" },
      downloads("Equivalents", cells, () => barsSvg(shown.map((row) => ({ name: row.label, value: row.amount })), "Equivalents", figure))),
    h("p", { class: "small" }, "Most factors are of the United States, whatever the units; none is exact. They compare sizes, and are no accounts."))]);
}

export async function quality(state: State): Promise<Node[]> {
  const it = await ask<Quality>("quality", interval(state));
  const all = it.energies.reduce((sum, row) => sum + row.energy_uj, 0);
  const energies = table("Energy by quality", [
    { head: "quality", cell: (row) => badge(row.quality) },
    { head: "kind", cell: (row) => row.kind },
    { head: "energy", number: true, cell: (row) => energy(row.energy_uj) },
    { head: "part", number: true, cell: (row) => percent(all > 0 ? row.energy_uj / all : null) },
  ], it.energies);
  const cells = () => [["quality", "kind", "energy_uj"], ...it.energies.map((row) => [row.quality, row.kind, row.energy_uj])];
  const bars = () => barsSvg(it.energies.map((row) => ({ name: `${row.quality}, ${row.kind}`, value: row.energy_uj, modelled: row.quality === "modelled" })), "Energy by quality", energy);
  const meters = table("Meters", [
    { head: "node", cell: (row) => named(row.node) },
    { head: "domain", cell: (row) => named(`${row.domain} ${row.device}`) },
    { head: "meter", cell: (row) => named(row.source) },
    { head: "quality", cell: (row) => badge(row.quality) },
    { head: "metered", number: true, cell: (row) => energy(row.metered_uj) },
    { head: "lost", number: true, cell: (row) => energy(row.lost_uj) },
    { head: "gaps", number: true, cell: (row) => (row.gaps === null ? UNKNOWN : String(row.gaps)) },
    { head: "covered", number: true, cell: (row) => time(row.covered_ns) },
    { head: "sum", cell: (row) => h("span", { class: row.holds ? "good" : "bad" }, row.holds ? "holds" : "does not hold") },
  ], it.meters);
  const factors = table("Factors", [
    { head: "zone", cell: (row) => h("div", {}, named(row.name || row.zone), row.assumed ? h("div", { class: "bad" }, "assumed") : "") },
    { head: "g/kWh", number: true, cell: (row) => figure(row.g_per_kwh) },
    { head: "PUE", number: true, cell: (row) => figure(row.pue) },
    { head: "year", number: true, cell: (row) => String(row.year) },
    { head: "kind", cell: (row) => clean(`${row.boundary}, ${row.basis}`) },
    { head: "source", cell: (row) => clean(row.source) },
  ], it.factors);
  return some([it.runs ? onlyRuns(it, state) : null, card("Measured or modelled", energies, h("div", { class: "under" }, downloads("Energy by quality", cells, bars)),
    h("p", { class: "small" }, "Modelled energy is estimated, not read from a meter: compare it with itself, not with a bill.")),
    card("Does it add up?", it.runs ? h("p", { class: "small" }, "The meters are of the machine while the runs lasted.") : null, sums(it.reconciliation), meters), card("Factors of the grams", factors), notes(it.notes)]);
}
