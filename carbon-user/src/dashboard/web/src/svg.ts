// Charts as SVG: small ones as they stand in a page, and each of them as a file.

import { clean, figure } from "./dom";

const NS = "http://www.w3.org/2000/svg";
const WIDTH = 900;

type Attributes = Record<string, string | number>;

/** An element of a picture. Attributes only: the policy of the pages allows no style of its own. */
export function s(tag: string, attributes: Attributes = {}, ...children: (Node | string)[]): SVGElement {
  const element = document.createElementNS(NS, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, typeof value === "number" ? String(Math.round(value * 100) / 100) : value);
  element.append(...children);
  return element;
}

/** A colour of the sheet, resolved, so that it holds outside the page too. */
export function colour(name: string): string {
  const probe = document.createElement("span");
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

export const seriesColour = (index: number): string => colour(`--s${Math.min(index, 8)}`);

/** A picture with its words for who cannot see it. */
export function picture(height: number, label: string): SVGElement {
  return s("svg", { xmlns: NS, viewBox: `0 0 ${WIDTH} ${height}`, width: WIDTH, height, role: "img", "aria-label": label,
    "font-family": "system-ui, sans-serif", "font-size": 12 },
    s("rect", { width: WIDTH, height, fill: colour("--card") }));
}

const text = (x: number, y: number, content: string, more: Attributes = {}): SVGElement =>
  s("text", { x, y, fill: colour("--soft"), ...more }, content);

/** The least of 1, 2 and 5 times a power of ten that makes no more than `count` steps of `span`. */
export function step(span: number, count: number): number {
  const least = span / count;
  if (!(least > 0) || !Number.isFinite(least)) return 1;
  const power = 10 ** Math.floor(Math.log10(least));
  return ([1, 2, 5].find((digit) => digit * power >= least) ?? 10) * power;
}

const PEN = document.createElement("canvas").getContext("2d");

/** As much of a name as this many pixels hold, by the font of the pictures; some room is left for a font of another machine. */
function cut(name: string, room: number): string {
  if (PEN) PEN.font = "12px system-ui, sans-serif";
  const width = (text: string) => 1.06 * (PEN?.measureText(text).width ?? 8 * text.length);
  const letters = [...name.slice(0, 400)];
  if (name.length <= 400 && width(name) <= room) return name;
  while (letters.length > 0 && width(`${letters.join("")}\u2026`) > room) letters.splice(Math.floor(letters.length * 0.95));
  return `${letters.join("")}\u2026`;
}

let patterns = 0;

/** What is modelled is hatched in a picture too: a paint, after its tile is put into the picture. */
function hatch(root: SVGElement, of: string): string {
  const id = `model${patterns++}`;
  root.append(s("defs", {}, s("pattern", { id, width: 8, height: 8, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" },
    s("rect", { width: 8, height: 8, fill: of }), s("rect", { width: 2, height: 8, fill: colour("--card"), opacity: 0.45 }))));
  return `url(#${id})`;
}

const REDRAW = "carbon-redraw";

/** Draws into a box, and again where the colours of the page change. */
export function drawnIn<K extends HTMLElement>(box: K, draw: () => void): K {
  box.dataset["drawn"] = "";
  box.addEventListener(REDRAW, draw);
  return box;
}

/** A picture in a page. */
export function inBox(picture: () => SVGElement): HTMLElement {
  const box = document.createElement("div");
  const draw = () => box.replaceChildren(picture());
  draw();
  return drawnIn(box, draw);
}

/** Paper is white: what is drawn in dark colours is drawn anew while a page is printed. */
export function printLight(): void {
  const root = document.documentElement;
  const redraw = () => document.querySelectorAll("[data-drawn]").forEach((box) => box.dispatchEvent(new Event(REDRAW)));
  let before: string | undefined;
  addEventListener("beforeprint", () => {
    before = root.dataset["theme"];
    root.dataset["theme"] = "light";
    redraw();
  });
  addEventListener("afterprint", () => {
    if (before === undefined) delete root.dataset["theme"];
    else root.dataset["theme"] = before;
    redraw();
  });
}

export interface Line {
  name: string;
  values: (number | null)[];
  modelled: boolean;
  /** Nine times in ten the truth is between these. */
  low?: (number | null)[];
  high?: (number | null)[];
}

export interface Options {
  label: string;
  unit: string;
  tz: string;
  stacked: boolean;
}

/** Runs of indices without a hole. */
function pieces(values: (number | null)[]): [number, number][] {
  const found: [number, number][] = [];
  values.forEach((value, at) => {
    if (value === null) return;
    const last = found.at(-1);
    if (last && last[1] === at - 1) last[1] = at;
    else found.push([at, at]);
  });
  return found;
}

/** The same sums from the bottom up that a stacked chart shows; a hole stays one. */
export function stack(lines: Line[], stacked: boolean): (number | null)[][] {
  const sums: (number | null)[][] = [];
  lines.forEach((line, index) => {
    const below = stacked ? sums[index - 1] : undefined;
    sums.push(line.values.map((v, at) => (v === null ? null : v + (below?.[at] ?? 0))));
  });
  return sums;
}

/** Lines or areas over time, with axes and a legend. */
export function timeSvg(starts: number[], lines: Line[], options: Options): SVGElement {
  const [left, top, bottom] = [64, 44, 300];
  const right = WIDTH - 16;
  const height = bottom + 36 + 18 * Math.ceil(lines.length / 3);
  const root = picture(height, options.label);
  const sums = stack(lines, options.stacked);
  const [first, last] = [starts[0] ?? 0, starts.at(-1) ?? 1];
  const most = Math.max(...sums.flat().map((v) => v ?? 0), ...lines.flatMap((it) => it.high ?? []).map((v) => v ?? 0), 1e-12) * 1.05;
  const x = (at: number) => left + ((starts[at] ?? first) - first) / Math.max(last - first, 1) * (right - left);
  const y = (value: number) => bottom - (value / most) * (bottom - top);
  root.append(text(left - 48, 22, `${options.label}, ${options.unit}`, { fill: colour("--text"), "font-size": 15, "font-weight": 600 }));
  for (let tick = 0, by = step(most, 5); tick <= most; tick += by) {
    root.append(s("path", { d: `M${left} ${y(tick)}H${right}`, stroke: colour("--line") }), text(left - 8, y(tick) + 4, figure(tick), { "text-anchor": "end" }));
  }
  const long = last - first > 2 * 86400;
  const when = new Intl.DateTimeFormat(undefined, long ? { timeZone: options.tz, day: "numeric", month: "short" }
    : { timeZone: options.tz, hour: "2-digit", minute: "2-digit" });
  for (let part = 0; part <= 5; part++) {
    const anchor = part === 0 ? "start" : part === 5 ? "end" : "middle";
    root.append(text(left + (part / 5) * (right - left), bottom + 18, when.format(1000 * (first + (part / 5) * (last - first))), { "text-anchor": anchor }));
  }
  lines.forEach((line, index) => {
    const fill = line.modelled ? hatch(root, seriesColour(index)) : seriesColour(index);
    const sum = sums[index] ?? [];
    for (const [from, to] of pieces(sum)) {
      const points = Array.from({ length: to - from + 1 }, (_, i) => from + i);
      const above = points.map((at) => `${x(at)} ${y(sum[at] ?? 0)}`);
      const under = points.map((at) => `${x(at)} ${y(options.stacked ? sums[index - 1]?.[at] ?? 0 : 0)}`).reverse();
      if (from === to) root.append(s("circle", { cx: x(from), cy: y(sum[from] ?? 0), r: 3, fill: seriesColour(index) }));
      else if (options.stacked) root.append(s("path", { d: `M${[...above, ...under].join("L")}Z`, fill }));
      else {
        const [high, low] = [line.high, line.low];
        if (high && low) {
          const band = [...points.map((at) => `${x(at)} ${y(high[at] ?? 0)}`), ...points.map((at) => `${x(at)} ${y(low[at] ?? 0)}`).reverse()];
          root.append(s("path", { d: `M${band.join("L")}Z`, fill: seriesColour(index), opacity: 0.2 }));
        }
        root.append(s("path", { d: `M${above.join("L")}`, fill: "none", stroke: seriesColour(index), "stroke-width": 2 }));
      }
    }
    const [column, row] = [index % 3, Math.floor(index / 3)];
    const place = [left + (column * (right - left)) / 3, bottom + 44 + 18 * row] as const;
    root.append(s("rect", { x: place[0], y: place[1] - 10, width: 12, height: 12, rx: 3, fill }),
      text(place[0] + 18, place[1], cut(clean(line.name), (right - left) / 3 - (line.modelled ? 100 : 30)) + (line.modelled ? " (modelled)" : "")));
  });
  return root;
}

export interface Bar {
  name: string;
  value: number | null;
  low?: number | null;
  high?: number | null;
  marked?: boolean;
  modelled?: boolean;
}

/** Ranked bars with their intervals; an unknown value has no bar and says so. */
export function barsSvg(bars: Bar[], label: string, show: (value: number) => string): SVGElement {
  const shown = bars.slice(0, 40);
  const height = 44 + 22 * shown.length + 12;
  const root = picture(height, label);
  // An interval may be wider than a picture can show: it goes to the edge.
  const most = Math.max(...shown.map((it) => Math.max(it.value ?? 0, Math.min(it.high ?? 0, 4 * (it.value ?? 0)))), 1e-12);
  const [left, right] = [250, WIDTH - 170];
  const x = (value: number) => left + Math.min(1, value / most) * (right - left);
  root.append(text(16, 22, label, { fill: colour("--text"), "font-size": 15, "font-weight": 600 }));
  const modelled = shown.some((bar) => bar.modelled) ? hatch(root, colour("--s6")) : "";
  shown.forEach((bar, index) => {
    const y = 44 + 22 * index;
    root.append(text(left - 8, y + 12, cut(clean(bar.name), left - 24), { "text-anchor": "end", fill: colour("--text") }));
    if (bar.value === null) {
      root.append(text(left, y + 12, "unknown", { "font-style": "italic" }));
      return;
    }
    root.append(s("rect", { x: left, y, width: Math.max(1, x(bar.value) - left), height: 15, rx: 3, fill: bar.modelled && !bar.marked ? modelled : colour(bar.marked ? "--s2" : "--s1") }),
      text(Math.max(x(bar.value), x(bar.high ?? 0)) + 8, y + 12, show(bar.value) + (bar.modelled ? " (modelled)" : "")));
    if (bar.low !== undefined && bar.low !== null && bar.high !== undefined && bar.high !== null) {
      root.append(s("path", { d: `M${x(bar.low)} ${y + 7.5}H${x(bar.high)}M${x(bar.low)} ${y + 4}v7M${x(bar.high)} ${y + 4}v7`, stroke: colour("--text"), "stroke-width": 1.5, fill: "none" }));
    }
  });
  return root;
}

export interface Span {
  lane: string;
  name: string;
  from: number;
  to: number | null;
  good: boolean;
}

/** What ran when, a lane for each project. What has not ended has no end. */
export function timelineSvg(spans: Span[], label: string, tz: string): SVGElement {
  const lanes = [...new Set(spans.map((it) => it.lane))];
  const height = 44 + 30 * lanes.length + 26;
  const root = picture(height, label);
  const first = Math.min(...spans.map((it) => it.from));
  const last = Math.max(...spans.map((it) => it.to ?? it.from), first + 1);
  const [left, right] = [180, WIDTH - 16];
  const x = (at: number) => left + ((at - first) / (last - first)) * (right - left);
  root.append(text(16, 22, label, { fill: colour("--text"), "font-size": 15, "font-weight": 600 }));
  lanes.forEach((lane, index) => {
    const y = 44 + 30 * index;
    root.append(s("path", { d: `M${left} ${y + 11}H${right}`, stroke: colour("--line") }),
      text(left - 10, y + 15, cut(clean(lane), left - 24), { "text-anchor": "end", fill: colour("--text") }));
    for (const span of spans.filter((it) => it.lane === lane)) {
      const width = Math.max(3, x(span.to ?? span.from) - x(span.from));
      root.append(s("rect", { x: x(span.from), y, width, height: 22, rx: 3, fill: span.good ? seriesColour(index) : colour("--bad"), opacity: 0.85 },
        s("title", {}, clean(span.name).slice(0, 300))));
    }
  });
  const when = (at: number) => new Date(at).toLocaleString(undefined, { timeZone: tz, dateStyle: "short", timeStyle: last - first < 600_000 ? "medium" : "short" });
  root.append(text(left, height - 10, when(first)), text(right, height - 10, when(last), { "text-anchor": "end" }));
  return root;
}

/** The hours of a day, the lowest ones marked. */
export function hoursSvg(hours: (number | null)[], best: Set<number>, label: string, unit: string): SVGElement {
  const [left, right, top, bottom] = [56, WIDTH - 16, 44, 210];
  const root = picture(bottom + 30, label);
  const most = Math.max(...hours.map((v) => v ?? 0), 1e-12) * 1.08;
  const y = (value: number) => bottom - (value / most) * (bottom - top);
  root.append(text(16, 22, `${label}, ${unit}`, { fill: colour("--text"), "font-size": 15, "font-weight": 600 }));
  for (let tick = 0, by = step(most, 4); tick <= most; tick += by) {
    root.append(s("path", { d: `M${left} ${y(tick)}H${right}`, stroke: colour("--line") }), text(left - 8, y(tick) + 4, figure(tick), { "text-anchor": "end" }));
  }
  const width = (right - left) / 24;
  hours.forEach((value, hour) => {
    const x = left + hour * width;
    if (hour % 3 === 0) root.append(text(x + width / 2, bottom + 18, `${String(hour).padStart(2, "0")}:00`, { "text-anchor": "middle" }));
    if (value === null) {
      root.append(text(x + width / 2, bottom - 6, "?", { "text-anchor": "middle", "font-style": "italic" }));
      return;
    }
    root.append(s("rect", { x: x + 2, y: y(value), width: width - 4, height: bottom - y(value), rx: 3, fill: colour(best.has(hour) ? "--s0" : "--s8") },
      s("title", {}, `${String(hour).padStart(2, "0")}:00: ${figure(value)} ${unit}`)));
  });
  return root;
}
