// The charts of a report in a file of its own: what they are drawn from stands in the file. Its words are there without this.

import { total, type Power, type Report } from "./api";
import { energy, grams, h } from "./dom";
import { downloads } from "./download";
import { edges, powerChart, short } from "./rows";
import { barsSvg, inBox } from "./svg";

interface Kept {
  report: Report & { scope: { tz: string; by: string } };
  power: Power | null;
}

/** Rows in a picture: more are in the table. */
const BARS_MAX = 20;

/** Draws them where the file is one; tells whether it is. */
export function drawReport(): boolean {
  const kept = document.getElementById("carbon-report")?.textContent;
  const place = document.getElementById("charts");
  if (!kept || !place) return false;
  const { report, power } = JSON.parse(kept) as Kept;
  if (power) place.append(powerChart(power, { tz: report.scope.tz }, `Power by ${report.scope.by}`, short));
  if (report.rows.length === 0) return true;
  const most = [...report.rows].sort((one, other) => (total(other) ?? 0) - (total(one) ?? 0)).slice(0, BARS_MAX);
  const drawn = (label: string, kind: "energy" | "grams") => () => barsSvg(most.map((row) => {
    const all = total(row);
    const name = row.period ? `${row.period} ${short(row.key)}` : short(row.key);
    const [low, high] = kind === "energy" ? edges(row) : [row.grams_low, row.grams_high];
    return { name, value: kind === "energy" ? all : row.grams, low, high, modelled: row.quality === "modelled" };
  }), label, kind === "energy" ? energy : grams);
  for (const [label, kind] of [["Energy", "energy"], ["Emissions", "grams"]] as const) {
    const text = `${label} by ${report.scope.by}, with 90 % intervals`;
    const picture = drawn(text, kind);
    const cells = () => [["key", "energy_uj", "grams"], ...report.rows.map((row) => [row.key, total(row), row.grams])];
    place.append(h("section", { class: "card" }, h("div", { class: "scroll picture" }, inBox(picture)), h("div", { class: "under" }, downloads(text, cells, picture)),
      report.rows.length > BARS_MAX ? h("p", { class: "small" }, `The largest ${BARS_MAX} of ${report.rows.length} rows; all are in the table.`) : null));
  }
  return true;
}
