// What is shown is in the URL, so that a link can be shared and the browser's own buttons work.

export type State = Record<string, string>;

const MINUTE_MS = 60_000;
const HOUR_MS = 3_600_000;

const LENGTHS_H: Record<string, number> = { "1h": 1, "6h": 6, "24h": 24, "7d": 168, "30d": 720, "365d": 8760 };

export const RANGES: [string, string][] = [
  ["1h", "last hour"], ["6h", "last 6 hours"], ["24h", "last day"], ["7d", "last 7 days"], ["30d", "last 30 days"],
  ["365d", "last year"], ["dates", "dates ..."],
];

const DEFAULTS: State = { page: "overview", range: "24h", by: "workload" };

export function read(): State {
  return { ...DEFAULTS, tz: Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC",
    ...Object.fromEntries(new URLSearchParams(location.search)) };
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
