// Processes: of a workload as they are now, where an agent measures, and of a run as they were recorded.

import { ask, type Processes } from "./api";
import { card, clean, energy, figure, h, named, notes, table, time, watts } from "./dom";
import { powerOf } from "./live";
import { some } from "./rows";

const AGAIN_MS = 2000;
/** Rows that are drawn anew each time. */
const SHOWN = 30;

interface Used { pid: number; comm: string; cpus: number | null; cpu_ns: number }

/** What each process used between two looks, in CPUs. One that came from elsewhere used nothing here that is known. */
function used(before: Processes | null, now: Processes): Used[] {
  const then = new Map((before?.processes ?? []).map((it) => [`${it.pid} ${it.start_ns}`, it.cpu_ns]));
  const [from, to] = [before?.at_ns ?? null, now.at_ns ?? 0];
  const rows = now.processes.map((it) => {
    const known = then.get(`${it.pid} ${it.start_ns}`);
    const began = known ?? (from !== null && (it.start_ns ?? 0) >= from ? 0 : it.cpu_ns);
    const cpus = from === null || to <= from ? null : Math.max(0, it.cpu_ns - began) / (to - from);
    return { pid: it.pid, comm: it.comm, cpu_ns: it.cpu_ns, cpus };
  });
  return rows.sort((one, other) => (other.cpus ?? 0) - (one.cpus ?? 0) || other.cpu_ns - one.cpu_ns || one.pid - other.pid);
}

/** The processes of a workload, looked at again and again until the page is left; why there are none, where that is so. */
export function processesNow(within: string, left: AbortSignal): HTMLElement {
  const body = h("div", { "aria-busy": "true" });
  const box = card("Processes now", body);
  const power = powerOf(within.slice("workload:".length), left);
  let before: Processes | null = null;
  const look = async (): Promise<boolean> => {
    const now = await ask<Processes>("processes", { within });
    if (left.aborted) return false;
    body.removeAttribute("aria-busy");
    if (now.at_ns === null) {
      body.replaceChildren(...some([h("p", { class: "empty" }, ...now.notes.map(clean))]));
      return false;
    }
    const rows = used(before, now);
    before = now;
    const all = rows.reduce((sum, it) => sum + (it.cpus ?? 0), 0);
    const watt = power();
    const of = (row: Used) => (watt === null || row.cpus === null ? "unknown" : all > 0 ? watts((watt * row.cpus) / all) : watts(0));
    const list = table("Processes now", [
      { head: "process", cell: (row) => named(row.comm) },
      { head: "pid", number: true, cell: (row) => String(row.pid) },
      { head: "CPUs in use", number: true, cell: (row) => (row.cpus === null ? "unknown" : figure(row.cpus)) },
      { head: "power, by CPU time", number: true, cell: of },
      { head: "CPU time since its start", number: true, cell: (row) => time(row.cpu_ns) },
    ], rows.slice(0, SHOWN));
    const more = rows.length - Math.min(rows.length, SHOWN) + now.more;
    body.replaceChildren(...some([list, h("p", { class: "small" },
      `${more > 0 ? `${more} more are not listed. ` : ""}The workload's power of now is split by the CPU time between two looks; none of this is kept in the ledger.`)]));
    return true;
  };
  const again = async (): Promise<void> => {
    let goes = true;
    try {
      if (!document.hidden) goes = await look();
    } catch (error) {
      body.replaceChildren(h("p", { class: "empty" }, clean(error instanceof Error ? error.message : String(error))));
    }
    if (goes && !left.aborted) setTimeout(() => void again(), AGAIN_MS);
  };
  void again();
  return box;
}

/** The processes of a run, as they were recorded. */
export function processesOfRun(it: Processes): Node {
  const others = it.more > 0 ? `${it.more} more processes, and what no process has,` : "What no process has";
  const rest = it.rest_uj === null || (it.more === 0 && it.rest_uj === 0) ? "" : `${others} used ${energy(it.rest_uj)}. `;
  if (it.processes.length === 0) return h("p", { class: "empty" }, ...it.notes.map(clean));
  return h("div", {}, table("Processes of the run", [
    { head: "process", cell: (row) => named(row.comm) },
    { head: "pid", number: true, cell: (row) => String(row.pid) },
    { head: "CPU time", number: true, cell: (row) => time(row.cpu_ns) },
    { head: "dynamic energy", number: true, cell: (row) => energy(row.dynamic_uj) },
  ], it.processes), h("p", { class: "small" }, rest), notes(it.notes));
}
