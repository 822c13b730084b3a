// Opens the dashboard's pages in a browser: `node pages.mjs URL CHROMIUM FOLDER AGENT RUNS`, the last of a ledger that has runs alone. Prints each thing that is wrong on a line, and
// ends with status 1 where there is any. Screenshots go to the folder.

import axe from "axe-core";
import { chromium } from "playwright-core";
import { readFileSync } from "node:fs";
import { join } from "node:path";

const [url, executablePath, folder, agent, alone] = process.argv.slice(2);
const wrong = [];
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-gpu"] });

/** A new window, of which everything that its console or its network says is wrong. */
async function opened(options) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  page.on("console", (it) => ["error", "warning"].includes(it.type()) && wrong.push(`${page.url()}: console: ${it.text()}`));
  page.on("pageerror", (error) => wrong.push(`${page.url()}: ${error}`));
  page.on("dialog", (it) => { wrong.push(`${page.url()}: a name was run`); void it.dismiss(); });
  // A picture or file that the page made itself has an address of its own below this one's.
  page.on("request", (it) => [url, agent, alone].some((own) => it.url().replace(/^blob:/, "").startsWith(own)) || wrong.push(`asks elsewhere: ${it.url()}`));
  return page;
}

async function show(page, query, from = url) {
  await page.goto(from + query);
  await page.waitForSelector('main[aria-busy="false"]');
  if (await page.locator(".error").count()) wrong.push(`${query}: ${await page.locator(".error").innerText()}`);
}

function expect(holds, what) {
  if (!holds) wrong.push(what);
}

async function accessible(page, name) {
  await page.evaluate(axe.source);
  const found = await page.evaluate(() => globalThis.axe.run({ resultTypes: ["violations"] }));
  for (const it of found.violations.filter((it) => ["serious", "critical"].includes(it.impact))) {
    wrong.push(`${name}: ${it.id}: ${it.help}: ${it.nodes.map((node) => node.html.slice(0, 120)).join(" | ")}`);
  }
}

const pages = ["overview", "workloads", "runs", "regions", "intensity", "equivalents", "quality"];
for (const [scheme, width] of [["light", 1280], ["dark", 1280], ["light", 390]]) {
  const page = await opened({ viewport: { width, height: 900 }, colorScheme: scheme, timezoneId: "Europe/Berlin", locale: "en-GB" });
  for (const name of pages) {
    await show(page, `?page=${name}`);
    await page.waitForTimeout(200);
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    expect(wide <= 0, `${name} at ${width}: ${wide} pixels wider than the window`);
    await accessible(page, `${name}, ${scheme}, ${width}`);
    await page.screenshot({ path: join(folder, `${name}-${scheme}-${width}.png`), fullPage: true });
  }
  await page.context().close();
}

let page = await opened({ viewport: { width: 1280, height: 900 }, acceptDownloads: true });
await show(page, "?page=overview");
expect(!/NaN|undefined|\[object/.test(await page.locator("main").innerText()), "overview: a figure is missing");
expect((await page.locator(".chart canvas").count()) > 0, "overview: no chart");

// What others named is text.
await show(page, "?page=runs");
expect((await page.locator("main img, main script").count()) === 0, "a name became markup");
const runs = await page.locator("main").innerText();
expect(runs.includes("<img src=x onerror=alert(1)>"), "a name is not shown as it is");
expect(!/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/.test(runs), "a name has characters that turn the text or control it");
expect(runs.includes("\ufffd"), "characters that are not shown leave no trace");
expect(!runs.includes("x".repeat(200)) && runs.includes("x".repeat(100)), "a name of 4 KiB is not cut");
await page.screenshot({ path: join(folder, "names.png"), fullPage: true });

// Each chart as a file.
async function file(name, kind) {
  const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: `Download ${name} as ${kind}` }).click()]);
  return readFileSync(await download.path());
}
for (const [query, name] of [["?page=runs", "Timeline"], ["?page=runs", "Runs"], ["?page=overview", "Power by workload"], ["?page=regions", "Regions"], ["?page=intensity", "Intensity by hour"], ["?page=equivalents", "Equivalents"]]) {
  await show(page, query);
  const csv = (await file(name, "CSV")).toString();
  expect(csv.split("\n").length > 2 && !/NaN|undefined/.test(csv), `${name}: CSV: ${csv.slice(0, 200)}`);
  const svg = (await file(name, "SVG")).toString();
  expect(svg.startsWith("<svg") && svg.includes("<text") && !/NaN|undefined|<img/.test(svg), `${name}: SVG: ${svg.slice(0, 300)}`);
  const png = await file(name, "PNG");
  expect(png.subarray(1, 4).toString() === "PNG" && png.length > 2000, `${name}: PNG of ${png.length} bytes`);
}

// Modelled bars are hatched in files too, and intervals are in the table of runs and in its file.
await show(page, "?page=runs");
expect((await file("Runs", "SVG")).toString().includes("<pattern"), "modelled bars in a file look measured");
expect((await file("Runs", "CSV")).toString().startsWith('"id"') && (await file("Runs", "CSV")).toString().includes("energy_low_uj"), "a file of runs has no intervals");
expect(/J to [\d.,]+ \w*J/.test(await page.getByRole("table", { name: "Runs", exact: true }).innerText()), "runs have no intervals");
// What is recorded is recent: a page that is told no time begins with a short one. It knows the quarter of an hour in which the record
// begins, which may have begun more than that ago.
const chosen = await page.locator("#controls select").first().inputValue();
expect(["15m", "1h"].includes(chosen), `the time to begin with (${chosen}) does not fit what is recorded`);
// Dates alone are a time too.
await show(page, "?page=workloads&from=2001-01-01&to=2001-01-02");
expect((await page.locator(".empty").count()) > 0, "dates without a range are not heeded");
// Where all works is marked, by the factors of what was recorded.
await show(page, "?page=regions");
expect((await page.locator("tr.here").count()) === 1, "where the work is is not marked");
// A PUE that nobody published of the region is marked, in the file too.
const marked = await page.locator("td .badge.assumed").count();
const ranked = (await file("Regions", "CSV")).toString();
expect(marked > 0 && ranked.split("\n").filter((line) => /,"yes","[^"]*"$/.test(line)).length === marked, `${marked} assumed PUE in the page: ${ranked.slice(0, 300)}`);

// A time without data is told to have none, which is not zero.
await show(page, "?page=workloads&range=dates&from=2001-01-01&to=2001-01-02");
expect((await page.locator(".empty").count()) > 0, "a time without data looks like one with data");
expect(!/\b0 (J|W|g)\b/.test(await page.locator(".card").first().innerText()), "nothing known is shown as zero");
await page.screenshot({ path: join(folder, "missing.png"), fullPage: true });

// What was measured last is old: the overview says so.
await page.clock.install({ time: Date.now() + 3_600_000 });
await show(page, "?page=overview&range=6h");
expect((await page.locator(".badge.stale").count()) === 1, "an old reading looks like a new one");
await page.screenshot({ path: join(folder, "stale.png"), fullPage: true });
await page.context().close();

page = await opened({ viewport: { width: 1280, height: 900 } });
await show(page, "?page=runs");
// A link holds what is shown; the browser's own buttons work.
await page.getByRole("link", { name: "Workloads" }).click();
await page.waitForFunction(() => document.title.startsWith("Workloads"));
await page.getByRole("searchbox").fill("busy");
await page.waitForFunction(() => new URLSearchParams(location.search).get("q") === "busy");
await page.goBack();
await page.waitForFunction(() => document.title.startsWith("Runs"));

// Two runs compared.
const radios = page.getByRole("radio");
await radios.nth(0).check();
await page.waitForFunction(() => new URLSearchParams(location.search).has("a"));
await page.waitForSelector('main[aria-busy="false"]');
await radios.nth(3).check();
await page.getByRole("heading", { name: "Compared" }).waitFor();

// From a workload to its domains, where modelled ones look different.
await show(page, "?page=workloads");
await page.locator("td a").first().click();
await page.waitForFunction(() => new URLSearchParams(location.search).get("within")?.startsWith("workload:"));
await page.waitForSelector('main[aria-busy="false"]');
expect((await page.locator("main").innerText()).includes("back to all"), "no way back");
// The ledger has no processes of it, and the page says so; a run has those that were recorded.
await page.getByRole("heading", { name: "Processes now" }).waitFor();
await page.getByText("carbon agent --dashboard on").waitFor();
await show(page, "?page=runs");
await page.locator("td a", { hasText: "busy" }).or(page.locator("td a", { hasText: "while" })).first().click();
const ofRun = page.getByRole("table", { name: "Processes of the run" });
await ofRun.waitFor();
expect((await ofRun.innerText()).includes("sh"), "a run without its processes");
await accessible(page, "processes of a run");
await page.screenshot({ path: join(folder, "processes-of-run.png"), fullPage: true });

// An agent shows those of now, with the power that is theirs by CPU time.
await show(page, "?page=workloads&range=1h", agent);
const most = page.locator("td a").first();
await most.click();
await page.waitForFunction(() => new URLSearchParams(location.search).get("within")?.startsWith("workload:"));
const now = page.getByRole("table", { name: "Processes now" });
const none = page.locator(".card", { hasText: "Processes now" }).locator(".empty");
await now.or(none).first().waitFor();
if (await now.count()) {
  await page.waitForFunction(() => /W\b/.test(document.querySelector('table[aria-label="Processes now"] tbody td:nth-child(4)')?.textContent ?? ""), null, { timeout: 20_000 });
  await accessible(page, "processes now");
}
await page.screenshot({ path: join(folder, "processes-now.png"), fullPage: true });

// Of a ledger that has runs alone, their sums are shown, and that they are no more than that.
for (const [name, told] of [["overview", "of 4 runs"], ["workloads", "thesis"], ["equivalents", "of 4 runs"], ["quality", "modelled"]]) {
  await show(page, `?page=${name}`, alone);
  const text = await page.locator("main").innerText();
  expect(text.includes("4 runs that began in it") && text.includes(told), `${name} of runs alone: ${text.slice(0, 300)}`);
  expect(name === "overview" || !text.includes("unknown") || name === "quality", `${name} of runs alone: a figure is unknown: ${text.slice(0, 300)}`);
  await accessible(page, `${name} of runs alone`);
  await page.screenshot({ path: join(folder, `runs-alone-${name}.png`), fullPage: true });
}
await show(page, "?page=workloads", alone);
await page.getByRole("link", { name: "thesis" }).click();
await page.waitForFunction(() => new URLSearchParams(location.search).get("project") === "thesis");

// Miles where people use them, kilometres elsewhere.
for (const [locale, told, not] of [["en-US", "mile driven", "kilometre"], ["de-DE", "kilometre", "mile driven"]]) {
  const there = await opened({ locale });
  await show(there, "?page=equivalents&range=365d");
  const text = await there.locator("main").innerText();
  expect(text.includes(told) && !text.includes(not), `${locale}: ${text.slice(0, 400)}`);
  await there.context().close();
}

// On paper it is light, and has no controls.
await show(page, "?page=overview");
await page.emulateMedia({ media: "print", colorScheme: "dark" });
expect(!(await page.locator("nav").isVisible()) && !(await page.locator(".downloads").first().isVisible()), "controls are printed");
await page.screenshot({ path: join(folder, "print.png"), fullPage: true });
// What is drawn in dark colours is drawn anew for it.
await page.emulateMedia({ media: null, colorScheme: "dark" });
await show(page, "?page=runs");
const ground = () => page.evaluate(() => document.querySelector(".picture svg rect").getAttribute("fill"));
const dark = await ground();
await page.evaluate(() => dispatchEvent(new Event("beforeprint")));
expect(dark !== "rgb(255, 255, 255)" && (await ground()) === "rgb(255, 255, 255)", `a picture is printed on ${await ground()}`);
await page.evaluate(() => dispatchEvent(new Event("afterprint")));
expect((await ground()) === dark, "the page stays light after it is printed");
await page.emulateMedia({ media: null, colorScheme: null });

// By keyboard alone.
await show(page, "?page=workloads");
await page.keyboard.press("/");
expect(await page.evaluate(() => document.activeElement?.getAttribute("type") === "search"), "a slash does not go to the search");

await show(page, "?page=regions");
await page.keyboard.press("Tab");
expect(await page.evaluate(() => document.activeElement?.className === "skip"), "the first stop is not the skip link");

await browser.close();
for (const line of wrong) console.log(line);
process.exit(wrong.length > 0 ? 1 : 0);
