// Where and when: regions of a cloud ranked, and the intensity of a place and of the hours of a day.

import { ask, total, type Advice, type Intensity, type Overview, type Power, type Row, type Workloads } from "./api";
import { UNKNOWN, card, choice, clean, field, figure, glance, grams, h, named, notes, percent, table } from "./dom";
import { downloads } from "./download";
import { intensityCard } from "./overview";
import { bar, some, type Go } from "./rows";
import { interval, type State } from "./state";
import { barsSvg, hoursSvg, inBox } from "./svg";

/** Hours of a day that are marked as the best: as `carbon advise` takes unless told otherwise. */
const BEST_HOURS = 4;
const DAY_MS = 86_400_000;

/** One line of the ranking: a region, or where the work is now. */
interface Ranked {
  rank: number | null;
  name: string;
  where: string;
  here: boolean;
  grams: number;
  low: number;
  high: number;
  g_per_kwh: number;
  pue: number | null;
  /** Where the PUE is from; that it is assumed, as none is published of the region. */
  pueSource: string;
  assumed: boolean;
  better: number | null;
  km: number | null;
}

export async function regions(state: State, go: Go): Promise<Node[]> {
  const provider = state["provider"] ?? "aws";
  const [it, used] = await Promise.all([
    ask<Advice>("regions", { provider, near: state["near"], energy: state["energy"] }),
    ask<Overview>("overview", interval({ ...state, range: "7d" })).catch(() => null),
  ]);
  const ranked: Ranked[] = it.regions.map((region) => ({ rank: region.rank, name: region.region, where: region.city,
    here: region.region === it.near, grams: region.grams_per_month, low: region.grams_low, high: region.grams_high,
    g_per_kwh: region.g_per_kwh, pue: region.pue, pueSource: region.pue_source, assumed: region.pue_assumed, better: region.better_probability, km: region.km }));
  const own = (used && here(used.interval, "last 7 days", it.energy_uj_per_month)) ?? (await hereOfRuns(state, it.energy_uj_per_month));
  if (own && !ranked.some((line) => line.here)) {
    const place = ranked.findIndex((line) => line.grams > own.grams);
    ranked.splice(place < 0 ? ranked.length : place, 0, own);
  }
  const most = Math.max(...ranked.map((line) => line.high), 1e-9);
  const form = h("div", { class: "row" },
    choice("Cloud", [["aws", "AWS"], ["gcp", "Google Cloud"], ["azure", "Azure"], ["oci", "Oracle"], ["ovh", "OVH"], ["scaleway", "Scaleway"],
      ["hetzner", "Hetzner"]], provider, (value) => go({ provider: value, near: "" })),
    choice("Where the work is", [["", "where it was recorded"], ...[...it.regions].sort((x, y) => x.region.localeCompare(y.region))
      .map((region) => [region.region, `${region.region.replace(/^.*:/, "")} (${clean(region.city)})`] as [string, string])],
    it.near ?? "", (near) => go({ near })),
    field("Energy in a month", state["energy"] ?? "100kWh", (text) => go({ energy: text })));
  const list = table("Regions, least emissions first", [
    { head: "rank", number: true, cell: (line) => (line.rank === null ? "\u25b6" : String(line.rank)) },
    { head: "region", cell: (line) => h("div", {}, named(line.name), line.here ? h("span", { class: "badge here" }, "here") : null,
      h("div", { class: "small" }, clean(line.where))) },
    { head: "CO2e a month", number: true, cell: (line) => grams(line.grams) },
    { head: "with its 90 % interval", cell: (line) => bar(line.grams, most, line.low, line.high, line.here ? "here" : "") },
    { head: "g/kWh", number: true, cell: (line) => figure(line.g_per_kwh) },
    { head: "PUE", number: true, cell: (line) => (line.pue === null ? "" : h("div", {}, figure(line.pue), line.assumed ? h("div", {}, h("span", { class: "badge assumed", title: clean(line.pueSource) }, "assumed")) : null)) },
    // Both are of a region that was chosen.
    ...(it.near === null ? [] : [
      { head: "better than here", number: true, cell: (line: Ranked) => (line.here ? "\u2013" : line.better === null ? UNKNOWN : chance(line.better)) },
      { head: "distance", number: true, cell: (line: Ranked) => (line.here ? "\u2013" : line.km === null ? UNKNOWN : `${figure(line.km)} km`) },
    ]),
  ], ranked, (line) => (line.here ? "here" : null));
  const cells = () => [["rank", "region", "city", "here", "grams_per_month", "grams_low", "grams_high", "g_per_kwh", "pue", "pue_assumed", "pue_source"],
    ...ranked.map((line) => [line.rank, line.name, line.where, line.here ? "yes" : "no", line.grams, line.low, line.high, line.g_per_kwh, line.pue,
      line.pue === null ? null : line.assumed ? "yes" : "no", line.pueSource])];
  const sources = [...new Set(ranked.filter((line) => line.assumed).map((line) => clean(line.pueSource)))];
  const bars = () => barsSvg(ranked.map((line) => ({ name: line.name, value: line.grams, low: line.low, high: line.high, marked: line.here })),
    "CO2e a month by region", grams);
  return some([form, card(null, list, h("div", { class: "under" }, downloads("Regions", cells, bars)),
    sources.length > 0 ? h("p", { class: "small" }, `A PUE that is marked is assumed, as none is published of the region: ${sources.join("; ")}. Its range is in the intervals.`) : null,
    h("p", { class: "small" },
    it.not_told_from_first > 0 ? `${it.not_told_from_first} regions cannot be told from the first by what is known of their grids.` : "")), notes(it.notes.map(inBrowser))]);
}

/** A chance: the tables are not known so well that more figures would say anything. */
const chance = (ratio: number): string => (ratio < 0.001 ? "<0.1 %" : ratio > 0.999 ? ">99.9 %" : percent(ratio));

/** Options are of the command line. */
const inBrowser = (note: string): string => note.replace(/: give --live or --intensity-file$/, " here: carbon advise tells them with --live or --intensity-file");

/** The same work where it was recorded: grams of what was used for each joule. */
function here(used: Row, when: string, energy_uj: number): Ranked | null {
  const all = total(used);
  const { grams, grams_low, grams_high } = used;
  if (!all || grams === null || grams_low === null || grams_high === null) return null;
  const ratio = energy_uj / all;
  return { rank: null, name: "where it was recorded", where: `by the factors of the ledger, ${when}`, here: true, grams: grams * ratio,
    low: grams_low * ratio, high: grams_high * ratio, g_per_kwh: (grams / all) * 3.6e12, pue: null, pueSource: "", assumed: false, better: null, km: null };
}

/** The same by runs, where no agent wrote. */
async function hereOfRuns(state: State, energy_uj: number): Promise<Ranked | null> {
  const asked = { ...interval({ ...state, range: "365d" }), by: "project", limit: "1" };
  const runs = await ask<Workloads>("workloads", asked).catch(() => null);
  return runs && here(runs.report.total, "runs of the last year", energy_uj);
}

export async function intensity(state: State, go: Go): Promise<Node[]> {
  const week = { from: new Date(Math.floor(Date.now() / DAY_MS) * DAY_MS - 7 * DAY_MS).toISOString(), tz: state["tz"] };
  const [it, power, lately] = await Promise.all([
    ask<Intensity>("intensity", { place: state["place"] }),
    ask<Power>("power", { ...interval(state), by: "node" }).catch(() => null),
    ask<Power>("power", { ...week, by: "node" }).catch(() => null),
  ]);
  const cards = h("div", { class: "cards" },
    glance(clean(it.name), `${figure(it.g_per_kwh)} g/kWh`, `90 %: ${figure(it.low_g_per_kwh)} to ${figure(it.high_g_per_kwh)}`),
    glance("PUE", it.pue === null ? UNKNOWN : figure(it.pue), clean(it.pue_source ?? "no source")),
    glance("Year", String(it.year), `${it.boundary}, ${it.basis}`));
  const assumed = it.assumed ? h("p", { class: "bad" }, "No place was given, and the ledger has not one zone alone: this is the world's average.") : null;
  return some([h("div", { class: "row" }, field("Place", state["place"] ?? (it.assumed ? "" : it.zone), (place) => go({ place })),
    h("span", { class: "small" }, "a country, a zone, or a region such as aws:eu-west-1")), assumed, cards,
    h("p", { class: "small" }, `Source: ${clean(it.source)}`), lately ? overTheDay(lately, state) : null,
    intensityCard(power, state, "Of what was used here, over time")]);
}

/** Means of each hour of the day, in the page's time zone. */
function overTheDay(power: Power, state: State): Node | null {
  const hour = new Intl.DateTimeFormat("en-GB", { timeZone: state["tz"] ?? "UTC", hour: "2-digit", hourCycle: "h23" });
  const found = new Map<number, number[]>();
  power.start_s.forEach((start, at) => {
    const value = power.g_per_kwh[at] ?? null;
    if (value === null) return;
    const of = Number(hour.format(start * 1000));
    found.set(of, [...(found.get(of) ?? []), value]);
  });
  if (found.size === 0) return null;
  const hours = Array.from({ length: 24 }, (_, at) => {
    const values = found.get(at);
    return values ? values.reduce((sum, v) => sum + v, 0) / values.length : null;
  });
  const known = hours.flatMap((value, at) => (value === null ? [] : [{ value, at }])).sort((x, y) => x.value - y.value);
  const flat = (known.at(-1)?.value ?? 0) - (known[0]?.value ?? 0) < 0.01;
  const best = new Set(flat ? [] : known.slice(0, BEST_HOURS).map((it) => it.at));
  const drawn = () => hoursSvg(hours, best, "Intensity by hour of the day, last 7 days", "g/kWh");
  const cells = () => [["hour", "g_per_kwh"], ...hours.map((value, at) => [at, value])];
  const told = flat ? "All hours are by one yearly factor: a day has no better and worse hours in it. Live intensities tell them (carbon run --live)."
    : `The ${BEST_HOURS} hours with the least are marked.`;
  return card("Over the day", h("div", { class: "scroll picture", tabindex: 0, role: "region", "aria-label": "Intensity by hour of the day" }, inBox(drawn)),
    h("div", { class: "under" }, h("span", { class: "small" }, told), downloads("Intensity by hour", cells, drawn)));
}
