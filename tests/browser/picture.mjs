// A page of a running dashboard as a picture, as in the README: `node picture.mjs URL CHROMIUM FILE [SECONDS]`, after so many
// seconds of what an agent measures. Ends with status 1 where the page
// cannot be shown, or says that something failed.

import { chromium } from "playwright-core";

const [url, executablePath, path, seconds = "1"] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-gpu"] });
const context = await browser.newContext({ viewport: { width: 1280, height: 1060 }, colorScheme: "light", locale: "en-IE", timezoneId: "Europe/Berlin" });
const page = await context.newPage();
await page.goto(url);
await page.waitForSelector('main[aria-busy="false"]');
await page.waitForTimeout(1000 * Number(seconds));
const failed = await page.locator(".error").allInnerTexts();
if (failed.length === 0) await page.screenshot({ path });
else console.log(failed.join("\n"));
await browser.close();
process.exit(failed.length);
