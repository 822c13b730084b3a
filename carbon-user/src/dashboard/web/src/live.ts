// What an agent measures now. It sends the latest window; a page that reads slowly misses windows, and nothing piles up.

import uPlot from "uplot";
import { authorized } from "./api";
import { hatched } from "./chart";
import { badge, card, clean, h, watts } from "./dom";
import { short } from "./rows";
import { colour } from "./svg";

export interface Live {
  window_end_us: number;
  window_ns: number;
  node: string;
  domains: { domain: string; device: string; source: string; quality: string; watts: number | null }[];
  workloads: { key: string; name: string; watts: number }[];
  left_out: number;
}

/** Windows that are kept for the line. */
const KEPT = 300;
const SHOWN = 8;
const AGAIN_MS = 2000;
const AGAIN_MS_MAX = 30_000;

type Show = (live: Live | null) => void;

/** Follows the agent until the page is left. Null is shown where nothing came for long; a server without an agent is asked once. */
async function follow(left: AbortSignal, show: Show): Promise<void> {
  let wait = AGAIN_MS;
  while (!left.aborted) {
    try {
      const answer = await fetch("/api/v1/live", { headers: authorized(), cache: "no-store", signal: left });
      if (answer.status === 204 || answer.status === 401) return;
      if (answer.ok && answer.body) {
        await read(answer.body, show);
        wait = AGAIN_MS;
      }
    } catch {
      // Gone, or not reached: asked again below.
    }
    if (left.aborted) return;
    await new Promise((done) => setTimeout(done, wait));
    wait = Math.min(2 * wait, AGAIN_MS_MAX);
  }
}

/** Server-sent events: of those that came together, the last is shown. */
async function read(body: ReadableStream<Uint8Array>, show: Show): Promise<void> {
  const reader = body.pipeThrough(new TextDecoderStream() as ReadableWritablePair<string, Uint8Array>).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    text += value;
    const end = text.lastIndexOf("\n\n");
    if (end < 0) continue;
    const event = text.slice(text.lastIndexOf("data: ", end) + 6, end);
    text = text.slice(end + 2);
    if (!document.hidden && event.startsWith("{")) show(JSON.parse(event) as Live);
  }
}

/** Shows what comes, and null once where nothing came for five windows, or ten seconds. */
function watch(left: AbortSignal, show: Show): void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  void follow(left, (live) => {
    if (left.aborted || live === null) return;
    document.body.classList.add("agent");
    clearTimeout(timer);
    timer = setTimeout(() => show(null), Math.max(10_000, (5 * live.window_ns) / 1e6));
    show(live);
  });
  left.addEventListener("abort", () => clearTimeout(timer));
}

/** Power of the machine and of its largest workloads, window by window. Hidden until an agent sends it. */
export function powerNow(left: AbortSignal): HTMLElement {
  const figure = h("div", { class: "figure" }, "");
  const line = h("div", { class: "spark", role: "img", "aria-label": "Power of the last minutes" });
  const list = h("ol", { class: "top" });
  const below = h("div", { class: "small" });
  const state = h("span", { class: "badge measured" }, "live");
  const model = badge("modelled");
  model.hidden = true;
  const box = card("Now", h("div", { class: "now" }, h("div", {}, figure, state, model, below), line, list));
  box.hidden = true;
  box.classList.add("live");
  const entries = Array.from({ length: SHOWN }, () => {
    const [name, value] = [h("bdi", { class: "name" }), h("span", { class: "value" })];
    const fill = h("i", {});
    const entry = h("li", {}, name, h("div", { class: "bar", "aria-hidden": "true" }, fill), value);
    list.append(entry);
    return { entry, name, value, fill };
  });
  const [times, powers]: [number[], (number | null)[]] = [[], []];
  let plot: uPlot | null = null;
  let modelled = false;
  watch(left, (live) => {
    box.classList.toggle("stale", live === null);
    state.textContent = live === null ? "stale: the agent sends nothing" : "live";
    state.className = live === null ? "badge stale" : "badge measured";
    if (live === null) {
      powers.push(null);
      times.push((times.at(-1) ?? 0) + 1);
      plot?.setData([times, powers]);
      return;
    }
    box.hidden = false;
    const known = live.domains.filter((it) => it.watts !== null);
    const power = known.length === 0 ? null : known.reduce((sum, it) => sum + (it.watts ?? 0), 0);
    set(figure, watts(power));
    modelled = known.some((it) => it.quality === "modelled");
    model.hidden = !modelled;
    const text = live.domains.map((it) => `${it.domain} ${watts(it.watts)}${it.quality === "modelled" ? " (modelled)" : ""}`).join(", ");
    set(below, clean(`${live.node}: ${text}`));
    times.push(live.window_end_us / 1e6);
    powers.push(power);
    if (times.length > KEPT) {
      times.shift();
      powers.shift();
    }
    if (plot === null && line.clientWidth > 0) plot = spark(line, times, powers, () => modelled);
    else plot?.setData([times, powers]);
    const most = live.workloads[0]?.watts ?? 0;
    entries.forEach(({ entry, name, value, fill }, index) => {
      const it = live.workloads[index];
      entry.hidden = it === undefined;
      if (!it) return;
      set(name, clean(it.name || short(it.key)).slice(0, 80));
      set(value, watts(it.watts));
      fill.style.width = `${most > 0 ? Math.round((100 * it.watts) / most) : 0}%`;
    });
  });
  return box;
}

/** Dynamic power of one workload in the last window; none before there was one, and where it is old. */
export function powerOf(key: string, left: AbortSignal): () => number | null {
  let power: number | null = null;
  watch(left, (live) => {
    // One that is not among those listed draws less than all of them; in a window in which it did not run it drew nothing.
    power = live === null ? null : live.workloads.find((it) => it.key === key)?.watts ?? (live.left_out > 0 ? null : 0);
  });
  return () => power;
}

/** Text is written where it changed only: the browser lays out nothing else. */
function set(element: HTMLElement, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

/** A line of power; hatched below while it is a model's. */
function spark(box: HTMLElement, times: number[], powers: (number | null)[], modelled: () => boolean): uPlot {
  const stroke = colour("--s0");
  const soft = colour("--soft");
  const [plain, ofModel] = [stroke.replace(/rgb\((.*)\)/, "rgba($1, 0.2)"), hatched(stroke, 0.35)];
  return new uPlot({ width: box.clientWidth, height: 130, legend: { show: false }, cursor: { show: false },
    scales: { y: { range: (_plot, _low, high) => [0, high > 0 ? high * 1.1 : 1] } },
    axes: [{ show: false }, { stroke: soft, size: 44, grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false } }],
    series: [{}, { stroke, width: 2, fill: () => (modelled() ? ofModel : plain) as string, points: { show: false } }] }, [times, powers], box);
}

/** Cells of the table of workloads that hold the power of now. */
export function nowCells(left: AbortSignal): (row: { key: string }) => Node {
  const cells = new Map<string, HTMLElement>();
  watch(left, (live) => {
    if (live === null) {
      for (const cell of cells.values()) {
        set(cell, "stale");
        cell.className = "unknown";
      }
      return;
    }
    const powers = new Map(live.workloads.map((it) => [it.key, it.watts]));
    for (const [key, cell] of cells) {
      const power = powers.get(key);
      set(cell, power === undefined ? "\u2013" : watts(power));
      if (cell.className !== "") cell.className = "";
    }
  });
  return (row) => {
    const kept = cells.get(row.key);
    if (kept) return kept;
    const cell = h("span", { class: "unknown" }, "\u2013");
    cells.set(row.key, cell);
    return cell;
  };
}

