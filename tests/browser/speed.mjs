// How fast the pages of the dashboard at URL are there, and how busy one that follows an agent keeps the browser:
// `node speed.mjs URL CHROMIUM FOLDER [SECONDS] [TIMES]`. The agent's windows are made here, one a second with 500 workloads, all of
// which change. Prints lines, and ends with status 1 where a page did not follow.

import { chromium } from "playwright-core";
import { createServer, request } from "node:http";
import { join } from "node:path";

const [url, executablePath, folder, seconds = "10", times = "1"] = process.argv.slice(2);
const WORKLOADS = 500;
const known = await (await fetch(new URL("/api/v1/workloads", url))).json();
const keys = known.report.rows.map((row) => row.key);
let sending = true;

function window(number) {
  const workloads = Array.from({ length: WORKLOADS }, (_, at) => ({
    key: keys[at] ?? `/kubepods.slice/kubepods-burstable.slice/pod${at}/cri-containerd-${at}.scope`,
    name: `shop/web-${at}/nginx`, watts: Math.round(1e4 * (40 / (1 + at)) * (1 + 0.3 * Math.sin(number + at))) / 1e4,
  })).sort((one, other) => other.watts - one.watts);
  const watts = workloads.reduce((sum, it) => sum + it.watts, 0);
  return { schema: "carbon.live/1", window_end_us: Date.now() * 1000, window_ns: 1e9, node: "node",
    domains: [{ domain: "package", device: "package-0", source: "powercap", quality: "measured", watts }], workloads, left_out: 0 };
}

const server = createServer((asked, answer) => {
  if (asked.url.startsWith("/api/v1/live")) {
    answer.writeHead(200, { "Content-Type": "text/event-stream" });
    let number = 0;
    const send = () => sending && answer.write(`data: ${JSON.stringify(window(number++))}\n\n`);
    send();
    const timer = setInterval(send, 1000);
    answer.on("close", () => clearInterval(timer));
    return;
  }
  const target = new URL(asked.url, url);
  request(target, { headers: { ...asked.headers, host: target.host } }, (got) => {
    answer.writeHead(got.statusCode, got.headers);
    got.pipe(answer);
  }).end();
}).listen(0, "127.0.0.1");
await new Promise((ready) => server.once("listening", ready));
const own = `http://127.0.0.1:${server.address().port}/`;
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-gpu"] });
const page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
const wrong = [];
page.on("console", (it) => it.type() === "error" && wrong.push(`console: ${it.text()}`));
page.on("pageerror", (error) => wrong.push(String(error)));
const devtools = await page.context().newCDPSession(page);
await devtools.send("Performance.enable");
const busy = async () => (await devtools.send("Performance.getMetrics")).metrics.find((it) => it.name === "TaskDuration").value;

const middle = (values) => [...values].sort((one, other) => one - other)[Math.floor(values.length / 2)];
for (const query of ["?page=overview", "?page=overview&range=365d", "?page=workloads&range=365d"]) {
  const [paints, ends, sizes] = [[], [], []];
  for (let time = 0; time < Math.max(3, Number(times)); time++) {
    const fresh = await (await browser.newContext({ viewport: { width: 1280, height: 900 } })).newPage();
    await fresh.goto(url + query);
    await fresh.waitForSelector('main[aria-busy="false"]', { timeout: 60_000 });
    const told = await fresh.evaluate(() => ({
      paint: performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? Number.NaN, end: performance.now(),
      bytes: performance.getEntries().reduce((sum, it) => sum + (it.transferSize ?? 0), 0) }));
    paints.push(told.paint);
    ends.push(told.end);
    sizes.push(told.bytes);
    await fresh.context().close();
  }
  console.log(`${query}: first paint ${middle(paints).toFixed(0)} ms, all of it ${middle(ends).toFixed(0)} ms, ${(middle(sizes) / 1024).toFixed(0)} KiB (first time: ${ends[0].toFixed(0)} ms)`);
}

for (const [name, query, told] of [["overview", "?page=overview", ".live .figure"], ["workloads", "?page=workloads", "td.number span"]]) {
  await page.goto(own + query);
  await page.waitForSelector('main[aria-busy="false"]');
  await page.waitForTimeout(2500);
  const first = await page.locator(told).first().innerText();
  const parts = [];
  for (let time = 0; time < Number(times); time++) {
    const before = await busy();
    await page.waitForTimeout(1000 * Number(seconds));
    parts.push((100 * (await busy() - before)) / Number(seconds));
  }
  if ((await page.locator(told).first().innerText()) === first) wrong.push(`${name}: the figures do not move`);
  console.log(`${name}: main thread busy ${middle(parts).toFixed(2)} % (median of ${times} times ${seconds} s, ${WORKLOADS} workloads each second)`);
  await page.screenshot({ path: join(folder, `live-${name}.png`), fullPage: true });
}

// What stops coming is shown as old, not as the present.
await page.goto(own + "?page=overview");
await page.waitForSelector(".live:not([hidden])");
sending = false;
await page.waitForSelector(".live.stale", { timeout: 20_000 });
await page.screenshot({ path: join(folder, "live-stale.png"), fullPage: true });

await browser.close();
server.closeAllConnections();
server.close();
for (const line of wrong) console.log(`WRONG ${line}`);
process.exit(wrong.length > 0 ? 1 : 0);
