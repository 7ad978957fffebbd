import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { delimiter, join } from "node:path";
import type { TestContext } from "node:test";
import puppeteer, { type Browser, type Page } from "puppeteer-core";

/** Pages in a headless Chromium, which Debian packages. */

const NAMES = ["chromium", "chromium-browser", "google-chrome"];

function chromium(): string | undefined {
  const folders = (process.env.PATH ?? "").split(delimiter);
  const paths = NAMES.flatMap((name) => folders.map((folder) => join(folder, name)));
  return process.env.PUPPETEER_EXECUTABLE_PATH ?? paths.find((path) => existsSync(path));
}

/** Why no page can be opened here; false when one can. */
export function noBrowser(): string | false {
  if (chromium() !== undefined) return false;
  return "Chromium is not installed (Debian: apt-get install chromium)";
}

export async function openBrowser(): Promise<Browser> {
  return await puppeteer.launch({
    executablePath: chromium()!,
    // Root has no sandbox, and containers have little shared memory.
    args: ["--no-sandbox", "--disable-dev-shm-usage"],
  });
}

export interface View {
  readonly width?: number;
  readonly height?: number;
  readonly scheme?: "light" | "dark";
}

/** A tab that fails its test when the page's code throws or breaks the page's own policy. */
export async function openPage(
  test: TestContext,
  browser: Browser,
  view: View = {},
): Promise<Page> {
  const { width = 1280, height = 800, scheme = "light" } = view;
  const context = await browser.createBrowserContext();
  const page = await context.newPage();
  const faults: string[] = [];
  page.on("pageerror", (error) => faults.push(String(error)));
  page.on("console", (message) => {
    // A refused request is logged by the browser itself.
    const own = message.type() === "error" && !message.text().startsWith("Failed to load resource");
    if (own) faults.push(message.text());
  });
  test.after(async () => {
    await context.close();
    assert.deepEqual(faults, []);
  });
  await page.setViewport({ width, height });
  await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
  return page;
}

/** What an element says. */
export async function textOf(page: Page, selector: string): Promise<string> {
  return await page.$eval(selector, (found) => found.textContent ?? "");
}

/** Waits until an element says what matches. */
export async function says(page: Page, selector: string, pattern: RegExp): Promise<void> {
  await page.waitForFunction(
    `new RegExp(${JSON.stringify(pattern.source)}).test(document.querySelector(${JSON.stringify(selector)})?.textContent ?? "")`,
    { timeout: 10_000 },
  );
}
