// What is shown is in the URL, so that a link can be shared and the browser's own buttons work.

export type State = Record<string, string>;

const MINUTE_MS = 60_000;
const HOUR_MS = 3_600_000;

const LENGTHS_H: Record<string, number> = { "15m": 0.25, "1h": 1, "6h": 6, "24h": 24, "7d": 168, "30d": 720, "365d": 8760 };

export const RANGES: [string, string][] = [
  ["15m", "last 15 minutes"], ["1h", "last hour"], ["6h", "last 6 hours"], ["24h", "last day"], ["7d", "last 7 days"], ["30d", "last 30 days"],
  ["365d", "last year"], ["dates", "dates ..."],
];

const DEFAULTS: State = { page: "overview", range: "24h", by: "workload" };

export function read(): State {
  const own = new URLSearchParams(location.search);
  // Dates say the range themselves.
  const dates: State = !own.has("range") && (own.has("from") || own.has("to")) ? { range: "dates" } : {};
  return { ...DEFAULTS, tz: Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC", ...dates, ...Object.fromEntries(own) };
}

/** Where the URL says no time, pages begin with the shortest one that has this moment in it. */
export function beginAt(first_s: number): void {
  const hours = (Date.now() / 1000 - first_s) / 3600;
  DEFAULTS["range"] = RANGES.find(([range]) => hours < (LENGTHS_H[range] ?? 0))?.[0] ?? "24h";
}

/** The URL of this state with some of it changed; an empty value takes it out. */
export function link(state: State, change: State): string {
  const own = new URLSearchParams(location.search);
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries({ ...state, ...change })) {
    if (value !== "" && (DEFAULTS[name] !== value) && (name !== "tz" || own.has("tz") || "tz" in change)) parameters.set(name, value);
  }
  const query = parameters.toString();
  return query === "" ? "/" : `/?${query}`;
}

/** The interval for the server. */
export function interval(state: State): Record<string, string | undefined> {
  if (state["range"] === "dates") return { from: state["from"], to: state["to"], tz: state["tz"] };
  const hours = LENGTHS_H[state["range"] ?? ""] ?? 24;
  // Long times begin with an hour: the ledger reads whole ones from its own sums.
  const grain = hours > 24 ? HOUR_MS : MINUTE_MS;
  const from = Math.floor((Date.now() - hours * HOUR_MS) / grain) * grain;
  return { from: new Date(from).toISOString(), tz: state["tz"] };
}
