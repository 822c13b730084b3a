// The router: reads the state from the URL, draws its page, and follows links without loading anew.

import { TokenMissing, ask, keepToken, type Overview, type Power, type Run } from "./api";
import { card, choice, clean, field, h } from "./dom";
import { PAGES, type Page } from "./pages";
import { drawReport } from "./report";
import { printLight } from "./svg";
import { RANGES, beginAt, interval, link, read, type State } from "./state";

const THEME = "carbon-theme";
const ZONES = ["UTC", "Europe/Berlin", "Europe/London", "America/New_York", "America/Los_Angeles", "Asia/Tokyo", "Asia/Kolkata"];

/** Counts pages: what comes late for one that was left is not shown. */
let turn = 0;
let leave = new AbortController();

function element(id: string): HTMLElement {
  return document.getElementById(id) ?? document.body.appendChild(h("div", { id }));
}

export function go(change: State): void {
  history.pushState(null, "", link(read(), change));
  void show();
}

function page(state: State): Page {
  return PAGES.find((it) => it.id === state["page"]) ?? (PAGES[0] as Page);
}

/** One that goes to another page keeps the time, and drops what the page before was narrowed to. */
function navigation(state: State, current: Page): void {
  const kept = Object.fromEntries(Object.keys(state)
    .filter((name) => !["range", "from", "to", "tz"].includes(name)).map((name) => [name, ""]));
  element("nav").replaceChildren(...PAGES.map((it) =>
    h("a", { href: link(state, { ...kept, page: it.id }), "aria-current": it === current ? "page" : null }, it.title)));
}

function controls(state: State, current: Page): void {
  const parts: (Node | null)[] = [];
  if (current.timed) {
    parts.push(choice("Time", RANGES, state["range"] ?? "24h", (range) =>
      go(range === "dates" ? { range, from: new Date().toISOString().slice(0, 10) } : { range, from: "", to: "" })));
    if (state["range"] === "dates") {
      parts.push(field("from", state["from"] ?? "", (from) => go({ from }), "date"),
        field("to", state["to"] ?? "", (to) => go({ to }), "date"));
    }
    const zones = [...new Set([Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC", ...ZONES])];
    parts.push(choice("Zone", zones.map((it) => [it, it]), state["tz"] ?? "UTC", (tz) => go({ tz })));
  }
  if (current.timed) parts.push(h("button", { type: "button", onclick: () => void show(), "aria-label": "Refresh", title: "Refresh" }, "\u21bb"));
  parts.push(h("button", { type: "button", onclick: turnTheme, "aria-label": "Light or dark", title: "Light or dark" }, "\u25d0"));
  element("controls").replaceChildren(...parts.filter((it): it is Node => it !== null));
}

function turnTheme(): void {
  const root = document.documentElement;
  const dark = root.dataset["theme"] ? root.dataset["theme"] === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset["theme"] = dark ? "light" : "dark";
  localStorage.setItem(THEME, root.dataset["theme"]);
  void show();
}

function askForToken(): Node {
  const input = h("input", { type: "password", autocomplete: "off", "aria-label": "Token" });
  const form = h("form", { class: "row" }, input, h("button", { type: "submit" }, "Show"));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    keepToken(input.value.trim());
    void show();
  });
  return card("This dashboard wants its token", h("p", {}, "It is in the file that --token-file names."), form);
}

/** The beginning of what is recorded of the last day; where that is nothing, of what was recorded last. */
async function firstRecorded(): Promise<number | null> {
  const day = interval({ range: "24h" });
  const [power, runs] = await Promise.all([ask<Power>("power", { ...day, by: "node" }), ask<{ runs: Run[] }>("runs", day)]);
  const known = power.start_s.filter((_, at) => power.series.some((it) => (it.watts[at] ?? null) !== null));
  const starts = [...known, ...runs.runs.map((run) => Date.parse(run.start) / 1000)];
  // A first step may begin before the day does.
  if (starts.length > 0) return Math.max(Math.min(...starts), Date.now() / 1000 - 86_340);
  const [last, before] = await Promise.all([ask<Overview>("overview", day), ask<{ runs: Run[] }>("runs", { limit: "1" })]);
  const ends = [last.latest_s ?? 0, ...before.runs.map((run) => Date.parse(run.start) / 1000)].filter((at) => at > 0);
  return ends.length > 0 ? Math.max(...ends) : null;
}

let asked = false;

/** Chooses the time to begin with, once, where the URL has none. What cannot be asked is told by the page itself. */
async function chooseRange(state: State, current: Page): Promise<State> {
  const own = new URLSearchParams(location.search);
  if (asked || !current.timed || ["range", "from", "to"].some((name) => own.has(name))) return state;
  const first_s = await firstRecorded().catch(() => undefined);
  if (first_s === undefined) return state;
  asked = true;
  if (first_s !== null) beginAt(first_s);
  return read();
}

async function show(): Promise<void> {
  const mine = ++turn;
  leave.abort();
  leave = new AbortController();
  let state = read();
  const current = page(state);
  document.title = `${current.title} \u00b7 Carbon`;
  navigation(state, current);
  controls(state, current);
  const main = element("main");
  main.setAttribute("aria-busy", "true");
  // What is there at once: the answers may take a moment.
  if (main.querySelector("h1")?.textContent !== current.title) {
    main.replaceChildren(h("h1", {}, current.title), h("div", { class: "cards waiting", "aria-hidden": "true" }, ...Array.from({ length: 4 }, () => h("div", { class: "card" }))));
  }
  const chosen = await chooseRange(state, current);
  if (mine !== turn) return;
  if (chosen !== state) {
    state = chosen;
    navigation(state, current);
    controls(state, current);
  }
  let content: Node[];
  try {
    content = await current.draw(state, go, leave.signal);
  } catch (error) {
    content = error instanceof TokenMissing ? [askForToken()] : [
      h("section", { class: "card error", role: "alert" }, h("h2", {}, "This cannot be shown"),
        h("p", {}, clean(error instanceof Error ? error.message : String(error)))),
    ];
  }
  if (mine !== turn) return;
  main.replaceChildren(h("h1", {}, current.title), ...content);
  main.setAttribute("aria-busy", "false");
}

function start(): void {
  addEventListener("popstate", () => void show());
  addEventListener("click", (event) => {
    const anchor = event.target instanceof Element ? event.target.closest("a") : null;
    if (!anchor || event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey) return;
    const target = new URL(anchor.href, location.href);
    if (target.origin !== location.origin || target.pathname !== "/" || anchor.hasAttribute("download") || target.hash) return;
    event.preventDefault();
    history.pushState(null, "", target.pathname + target.search);
    void show();
  });

  /** A slash goes to the search, as in other lists. */
  addEventListener("keydown", (event) => {
    const typing = event.target instanceof HTMLElement && /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName);
    const search = document.querySelector<HTMLInputElement>('input[type="search"]');
    if (event.key !== "/" || typing || !search || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    search.focus();
  });
  const theme = localStorage.getItem(THEME);
  if (theme) document.documentElement.dataset["theme"] = theme;
  void show();
}

printLight();
if (!drawReport()) start();
