// Elements and figures. What others named goes into a page as text only, never as markup.

type Child = Node | string | null | undefined;

/** An element with properties and children; strings become text. */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  properties: Record<string, unknown> = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value as EventListener);
    else if (name === "class") element.className = String(value);
    else if (name === "value") (element as HTMLInputElement).value = String(value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.filter((child): child is Node | string => child !== null && child !== undefined));
  return element;
}

const NAME_MAX = 160;

/** A foreign name: no control character and nothing that turns the direction of what stands beside it. */
export function clean(name: string): string {
  return name.replace(/[\u0000-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, "\ufffd");
}

/** A foreign name in a page, isolated from the direction of the text around it. */
export function named(name: string): HTMLElement {
  const text = clean(name);
  const short = text.length > NAME_MAX ? text.slice(0, NAME_MAX) + "\u2026" : text;
  return h("bdi", { class: "name", title: short === text ? null : text.slice(0, 4096) }, short);
}

const format = (digits: number) => new Intl.NumberFormat(undefined, { maximumSignificantDigits: digits });
const three = format(3);

/** Three figures: no meter tells more. */
export const figure = (value: number): string => three.format(value);

function scaled(value: number, steps: [number, string][]): string {
  const size = Math.abs(value);
  const [factor, unit] = steps.find(([factor]) => (size === 0 ? factor === 1 : size >= factor)) ?? steps[steps.length - 1] ?? [1, ""];
  return `${figure(value / factor)} ${unit}`;
}

export const UNKNOWN = "unknown";

/** Words that stand where a figure would: none looks like one. */
const NO_VALUES = [UNKNOWN, "stale", "none"];

/** Microjoules, as J, Wh or kWh. */
export function energy(uj: number | null): string {
  if (uj === null) return UNKNOWN;
  return scaled(uj / 1e6, [[3.6e9, "MWh"], [3.6e6, "kWh"], [3.6e3, "Wh"], [1, "J"], [1e-3, "mJ"]]);
}

/** Grams of CO2e. */
export function grams(g: number | null): string {
  if (g === null) return UNKNOWN;
  return scaled(g, [[1e6, "t"], [1e3, "kg"], [1, "g"], [1e-3, "mg"], [1e-6, "\u00b5g"]]);
}

/** Watts. */
export function watts(w: number | null): string {
  if (w === null) return UNKNOWN;
  return scaled(w, [[1e6, "MW"], [1e3, "kW"], [1, "W"], [1e-3, "mW"]]);
}

/** The unit of an axis of power whose highest value this is, and how many watts it has. */
export function unitOfWatts(most: number): [number, string] {
  const steps: [number, string][] = [[1e6, "MW"], [1e3, "kW"], [1, "W"], [1e-3, "mW"]];
  // One has more than two digits below the next unit: 1,500 W stays in watts.
  return steps.find(([factor]) => most >= 2 * factor) ?? [1, "W"];
}

/** Nanoseconds. */
export function time(ns: number | null): string {
  if (ns === null) return UNKNOWN;
  return scaled(ns / 1e9, [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"], [1e-3, "ms"]]);
}

export function percent(ratio: number | null): string {
  return ratio === null ? UNKNOWN : `${figure(100 * ratio)} %`;
}

/** How a figure was had: measured and modelled look different, not only by colour. */
export function badge(quality: string | null): HTMLElement {
  const word = quality ?? "no data";
  return h("span", { class: `badge ${quality ?? ""}` }, word);
}

/** A value, or the word for none; an unknown one never looks like zero. */
export function value(text: string): HTMLElement {
  return h("span", { class: NO_VALUES.includes(text) ? "unknown" : null }, text);
}

export interface Column<T> {
  head: string;
  number?: boolean;
  /** Shown only where an agent sends what it measures. */
  live?: boolean;
  cell: (row: T) => Node | string;
}

/** A table with a caption for screen readers. */
export function table<T>(label: string, columns: Column<T>[], rows: T[], marked?: (row: T) => string | null): HTMLElement {
  const kind = (column: Column<T>) => [column.number ? "number" : "", column.live ? "of-agent" : ""].join(" ").trim() || null;
  const head = h("tr", {}, ...columns.map((it) => h("th", { scope: "col", class: kind(it) }, it.head)));
  const body = rows.map((row) => h("tr", { class: marked?.(row) }, ...columns.map((it) => {
    const cell = it.cell(row);
    return h("td", { class: kind(it) }, typeof cell === "string" ? value(cell) : cell);
  })));
  const inner = rows.length > 0
    ? h("table", { "aria-label": label }, h("thead", {}, head), h("tbody", {}, ...body))
    : h("p", { class: "empty" }, "Nothing is recorded for that.");
  return h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": label }, inner);
}

export function card(title: string | null, ...children: Child[]): HTMLElement {
  return h("section", { class: "card" }, title === null ? null : h("h2", {}, title), ...children);
}

/** A figure at a glance. */
export function glance(label: string, text: string, ...below: Child[]): HTMLElement {
  return h("div", { class: "card" }, h("div", { class: "label" }, label),
    h("div", { class: "figure" }, value(text)), h("div", { class: "small" }, ...below));
}

export function notes(lines: string[]): HTMLElement | null {
  if (lines.length === 0) return null;
  return h("ul", { class: "plain note" }, ...lines.map((line) => h("li", {}, clean(line))));
}

/** A select with a label. */
export function choice(
  label: string, options: [string, string][], chosen: string, pick: (value: string) => void,
): HTMLElement {
  const known = options.some(([value]) => value === chosen) ? options : [...options, [chosen, chosen] as [string, string]];
  const select = h("select", { onchange: () => pick(select.value) },
    ...known.map(([value, text]) => h("option", { value, selected: value === chosen }, text)));
  return h("label", {}, label, select);
}

/** A text field with a label; what is typed counts when it is done. */
export function field(label: string, text: string, pick: (value: string) => void, kind = "text"): HTMLElement {
  const input = h("input", { type: kind, value: text, onchange: () => pick(input.value.trim()) });
  return h("label", {}, label, input);
}
