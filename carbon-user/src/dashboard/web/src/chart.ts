// Charts over time, drawn by uPlot; beside each its data as a table, for who cannot see it, and as files.

import uPlot from "uplot";
import { clean, figure, h, table, unitOfWatts, watts as shownWatts } from "./dom";
import { downloads } from "./download";
import { colour, drawnIn, seriesColour, stack, timeSvg, type Line, type Options } from "./svg";

const HEIGHT = 280;

/** Modelled areas are hatched: what is estimated looks different from what was measured. */
export function hatched(of: string, opacity = 1): CanvasPattern | string {
  const tile = document.createElement("canvas");
  tile.width = tile.height = 8;
  const pen = tile.getContext("2d");
  if (!pen) return of;
  pen.fillStyle = of;
  pen.globalAlpha = opacity;
  pen.fillRect(0, 0, 8, 8);
  pen.strokeStyle = colour("--card");
  pen.globalAlpha = 0.45;
  pen.lineWidth = 1.5;
  for (const shift of [-8, 0, 8]) {
    pen.beginPath();
    pen.moveTo(shift, 8);
    pen.lineTo(shift + 8, 0);
    pen.stroke();
  }
  return pen.createPattern(tile, "repeat") ?? of;
}

/** A value between two holes has no line: it is a point. */
function alone(plot: uPlot, at: number, _show: boolean, _gaps?: null | number[][]): number[] | null {
  const values = plot.data[at] ?? [];
  const is = (index: number) => values[index] !== null && values[index] !== undefined;
  return [...values.keys()].filter((index) => is(index) && !is(index - 1) && !is(index + 1));
}

/** Lines over time; stacked ones are areas, the first at the bottom. */
export function chart(starts: number[], lines: Line[], options: Options): HTMLElement {
  const show = options.unit === "W" ? shownWatts : (v: number | null) => (v === null ? "unknown" : `${figure(v)} ${options.unit}`);
  const box = h("div", { class: "chart", role: "img", "aria-label": `${options.label}: ${summary(lines, show)}` });
  const values = lines.map(() => h("span", { class: "value" }, ""));
  const time = h("span", { class: "small time" }, "");
  // Where all of it is, once is enough.
  const all = lines.length > 1 && lines.every((line) => line.modelled);
  const legend = h("ul", { class: "legend" }, ...lines.map((line, index) => {
    const name = clean(line.name);
    return h("li", {}, h("i", { class: `c${Math.min(index, 8)}${line.modelled ? " hatched" : ""}` }),
      h("bdi", { class: "name", title: name.slice(0, 400) }, name.slice(0, 200)),
      line.modelled && !all ? h("span", { class: "badge modelled" }, "modelled") : null, values[index]);
  }));
  const when = (at: number) => new Date(at * 1000).toLocaleString(undefined, { timeZone: options.tz, dateStyle: "medium", timeStyle: "short" });
  const tell = (at: number | null) => {
    const start = at === null ? undefined : starts[at];
    time.textContent = start === undefined ? "latest" : when(start);
    lines.forEach((line, index) => {
      const known = at === null ? line.values.filter((v) => v !== null).at(-1) ?? null : line.values[at] ?? null;
      const [low, high] = at === null ? [null, null] : [line.low?.[at] ?? null, line.high?.[at] ?? null];
      values[index]?.replaceChildren(show(known) + (known !== null && low !== null && high !== null ? ` (${show(low)} to ${show(high)})` : ""));
    });
  };
  tell(null);
  let plot: uPlot | null = null;
  const sizes = new ResizeObserver(() => {
    if (box.clientWidth === 0) return;
    if (plot === null) plot = draw(box, starts, lines, options, tell);
    else plot.setSize({ width: box.clientWidth, height: HEIGHT });
  });
  sizes.observe(box);
  drawnIn(box, () => {
    if (plot === null) return;
    plot.destroy();
    plot = draw(box, starts, lines, options, tell);
  });
  const rows = starts.map((start, index) => ({ start, index }));
  const data = h("details", {}, h("summary", {}, "Data as a table"));
  data.addEventListener("toggle", () => {
    if (data.open && data.childElementCount === 1) {
      data.append(table(options.label, [
        { head: "from", cell: (row) => when(row.start) },
        ...lines.map((line) => ({ head: clean(line.name).slice(0, 60), number: true,
          cell: (row: { index: number }) => show(line.values[row.index] ?? null) })),
      ], rows));
    }
  });
  const cells = () => [["start", ...lines.map((line) => `${line.name} (${options.unit})`)],
    ...starts.map((start, at) => [new Date(start * 1000).toISOString(), ...lines.map((line) => line.values[at] ?? null)])];
  return h("div", {}, box, h("div", { class: "under" }, h("span", {}, time, all ? h("span", { class: "badge modelled" }, "modelled in part or in whole") : null), downloads(options.label, cells, () => timeSvg(starts, lines, options))), legend, data);
}

function summary(lines: Line[], show: (v: number | null) => string): string {
  const mean = (values: (number | null)[]) => {
    const known = values.filter((v): v is number => v !== null);
    return known.length === 0 ? null : known.reduce((sum, v) => sum + v, 0) / known.length;
  };
  return lines.slice(0, 5).map((line) => `${clean(line.name).slice(0, 60)} ${show(mean(line.values))} on average`).join("; ")
    || "nothing is recorded";
}

function draw(
  box: HTMLElement, starts: number[], lines: Line[], options: Options, tell: (at: number | null) => void,
): uPlot {
  const sums = stack(lines, options.stacked);
  const [soft, grid] = [colour("--soft"), colour("--line")];
  // The top of the stack is drawn first, and what lies below it over that.
  const order = lines.map((_, index) => index).reverse();
  const data: (number | null)[][] = order.map((index) => sums[index] ?? []);
  const series: uPlot.Series[] = order.map((index) => {
    const stroke = seriesColour(index);
    const modelled = lines[index]?.modelled === true;
    const fill = modelled ? hatched(stroke) : stroke;
    const area: uPlot.Series = options.stacked ? { fill: () => fill as string, width: 1 } : { width: 2, ...(modelled ? { dash: [6, 4] } : {}) };
    return { stroke, points: { show: true, size: 7, fill: stroke, filter: alone }, spanGaps: false, ...area };
  });
  const bands: uPlot.Band[] = [];
  lines.forEach((line, index) => {
    if (!line.low || !line.high) return;
    data.push(line.high, line.low);
    const edge: uPlot.Series = { stroke: "transparent", width: 0, points: { show: false }, spanGaps: false };
    series.push(edge, edge);
    bands.push({ series: [series.length - 1, series.length], fill: seriesColour(index).replace(/rgb\((.*)\)/, "rgba($1, 0.22)") });
  });
  const days = new Intl.DateTimeFormat(undefined, { timeZone: options.tz, day: "numeric", month: "short" });
  const clock = new Intl.DateTimeFormat(undefined, { timeZone: options.tz, hour: "2-digit", minute: "2-digit" });
  // As the reader's language has them; the day where it changes.
  const times = (_plot: uPlot, ticks: number[], _axis: number, _space: number, step: number) => ticks.map((tick, at) => {
    const day = days.format(tick * 1000);
    if (step >= 86_400) return day;
    const before = at === 0 ? null : days.format((ticks[at - 1] ?? tick) * 1000);
    return before === day ? clock.format(tick * 1000) : `${clock.format(tick * 1000)}\n${day}`;
  });
  const most = Math.max(0, ...data.flatMap((values) => values.map((v) => v ?? 0)));
  const [factor, unit] = options.unit === "W" ? unitOfWatts(most) : [1, options.unit];
  const axis = { stroke: soft, grid: { stroke: grid, width: 1 }, ticks: { stroke: grid, width: 1 } };
  return new uPlot({
    width: box.clientWidth,
    height: HEIGHT,
    tzDate: (at) => uPlot.tzDate(new Date(at * 1000), options.tz),
    legend: { show: false },
    cursor: { y: false, drag: { x: false, y: false } },
    scales: { y: { range: (_plot, low, high) => [Math.min(0, low), high > 0 ? high * 1.08 : 1] } },
    axes: [{ ...axis, values: times, space: 78 }, { ...axis, size: 62, values: (_plot, ticks) => ticks.map((tick) => `${figure(tick / factor)}`),
      label: unit, labelSize: 18, labelGap: 2 }],
    series: [{}, ...series],
    bands,
    hooks: { setCursor: [(plot) => tell(plot.cursor.idx ?? null)] },
  }, [starts, ...data], box);
}
