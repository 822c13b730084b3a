// What the server answers. The shapes are those of the report module: see docs/dashboard.md.

export interface Row {
  period?: string;
  key: string;
  /** How many runs were added up; only where runs were. */
  runs?: number;
  dynamic_uj: number | null;
  static_uj: number | null;
  held_uj?: number | null;
  stddev_uj: number | null;
  cpu_ns: number;
  grams: number | null;
  grams_low: number | null;
  grams_high: number | null;
  quality: string | null;
}

export interface Reconciliation {
  metered_uj: number;
  attributed_uj: number;
  static_uj: number;
  lost_uj: number;
  holds: boolean;
}

export interface Factor {
  g_per_kwh: number;
  pue: number;
  zone: string;
  name: string;
  year: number;
  boundary: string;
  basis: string;
  source: string;
  assumed: boolean;
}

export interface Report {
  scope: { ledger: string; from: string; to: string; methods: string[] };
  rows: Row[];
  total: Row;
  reconciliation: Reconciliation;
  factors: Factor[];
  notes: string[];
}

export interface Overview {
  version: string;
  ledger: string;
  from: string;
  to: string;
  /** Unix time of the end of the last minute that there are readings of. */
  latest_s: number | null;
  interval: Row;
  today: Row;
  month: Row;
  static_ratio: number | null;
  domains: Row[];
  reconciliation: Reconciliation;
  notes: string[];
}

export interface Power {
  step_s: number;
  start_s: number[];
  series: { key: string | null; name: string | null; quality: string | null; watts: (number | null)[]; stddev_watts: (number | null)[] }[];
  g_per_kwh: (number | null)[];
}

export interface Named {
  kind: string;
  name: string;
  container: string | null;
  pod: string | null;
  namespace: string | null;
  unit: string | null;
}

export interface Workloads {
  left_out: number;
  report: Report;
  names: Record<string, Named>;
}

export interface Run {
  id: string;
  start: string;
  end: string | null;
  node: string;
  status: string;
  organisation: string | null;
  project: string | null;
  experiment: string | null;
  name: string | null;
  tags: string[];
  command: string[];
  duration_ns: number | null;
  cpu_ns: number | null;
  dynamic_uj: number | null;
  dynamic_stddev_uj: number | null;
  static_uj: number | null;
  held_uj?: number | null;
  grams: number | null;
  grams_low: number | null;
  grams_high: number | null;
  quality: string | null;
  hardware: string | null;
}

export interface Side {
  name: string;
  runs: number;
  unknown: number;
  mean_j: number | null;
  stddev_j: number | null;
  quality: string | null;
}

export interface Compared {
  a: Side;
  b: Side;
  change_ratio: number | null;
  change_low_ratio: number | null;
  change_high_ratio: number | null;
  p: number | null;
  notes: string[];
}

export interface Region {
  rank: number;
  region: string;
  city: string;
  g_per_kwh: number;
  pue: number;
  pue_source: string;
  pue_assumed: boolean;
  grams_per_month: number;
  grams_low: number;
  grams_high: number;
  better_probability: number | null;
  km: number | null;
}

export interface Advice {
  near: string | null;
  energy_uj_per_month: number;
  regions: Region[];
  not_told_from_first: number;
  notes: string[];
}

export interface Intensity {
  zone: string;
  name: string;
  g_per_kwh: number;
  low_g_per_kwh: number;
  high_g_per_kwh: number;
  year: number;
  boundary: string;
  basis: string;
  source: string;
  assumed: boolean;
  pue: number | null;
  pue_source: string | null;
}

export interface Equivalents {
  total: Row;
  equivalents: {
    amount: number; label: string; per_unit: number; unit: string; year: number | null; set: string; reference: string;
  }[];
}

export interface Quality {
  /** Of how many runs, where nothing else is recorded. */
  runs: number | null;
  meters: (Reconciliation & {
    node: string; domain: string; device: string; source: string; quality: string; gaps: number | null; covered_ns: number;
  })[];
  energies: { quality: string; kind: string; energy_uj: number }[];
  reconciliation: Reconciliation;
  factors: Factor[];
  notes: string[];
}

export interface Processes {
  /** By the clock since the boot; none where they were recorded. */
  at_ns: number | null;
  processes: { pid: number; start_ns: number | null; comm: string; cpu_ns: number; dynamic_uj: number | null }[];
  more: number;
  rest_uj: number | null;
  notes: string[];
}

/** The server wants its token. */
export class TokenMissing extends Error {}

const TOKEN = "carbon-token";

export function keepToken(token: string): void {
  sessionStorage.setItem(TOKEN, token);
}

/** Shows the token, where there is one. */
export function authorized(): Record<string, string> {
  const token = sessionStorage.getItem(TOKEN);
  return token ? { Authorization: `Bearer ${token}` } : {};
}

/** How often a chart that takes too long is asked for: each time the server goes on from where it was. */
const TURNS = 12;

/** Asks the server; what it says of a failure is the error's message. */
export async function ask<T>(topic: string, query: Record<string, string | undefined> = {}, left: AbortSignal | null = null): Promise<T> {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) if (value) parameters.set(name, value);
  const fetched = () => fetch(`/api/v1/${topic}?${parameters}`, { headers: authorized(), cache: "no-store", signal: left });
  let answer = await fetched();
  for (let turn = 1; answer.status === 504 && topic === "power" && turn < TURNS; turn++) answer = await fetched();
  if (answer.status === 401) throw new TokenMissing();
  if (!answer.ok) throw new Error((await answer.text()).trim() || `the server answered ${answer.status}`);
  return (await answer.json()) as T;
}

/** All energy of a row, as far as it is known. */
export function total(row: { dynamic_uj: number | null; static_uj: number | null; held_uj?: number | null }): number | null {
  if (row.dynamic_uj === null || row.static_uj === null) return null;
  return row.dynamic_uj + row.static_uj + (row.held_uj ?? 0);
}
