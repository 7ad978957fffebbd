import type { TestContext } from "node:test";
import type { Browser, Page } from "puppeteer-core";
import type { FakeGenerator } from "../../src/engine/fake.js";
import { PageFiles } from "../../src/http/page-files.js";
import { type Setup, serve } from "../harness.js";
import { openPage, says, type View } from "./browser.js";

/** The playground in a tab, in front of the fake model. */

const REPLY = "The moon is far. It is round!";
const pages = PageFiles.read();

/** An answer that ended well. */
export const DONE = '.answer[data-state="done"]';

export interface Opened {
  readonly page: Page;
  readonly generator: FakeGenerator;
  readonly url: string;
}

export async function openPlayground(
  test: TestContext,
  browser: Browser,
  setup: Setup = {},
  view: View = {},
): Promise<Opened> {
  const options = { pages, ...setup.options };
  const { url, generator } = await serve(test, { reply: () => REPLY, ...setup, options });
  const page = await openPage(test, browser, view);
  await page.goto(url);
  return { page, generator, url };
}

/** Once its models can be asked. */
export async function openReadyPlayground(
  test: TestContext,
  browser: Browser,
  setup: Setup = {},
  view: View = {},
): Promise<Opened> {
  const opened = await openPlayground(test, browser, setup, view);
  await says(opened.page, "#state[data-phase=ready]", /adapter/);
  return opened;
}

export async function send(page: Page, message: string): Promise<void> {
  await page.type("#message", message);
  await page.keyboard.press("Enter");
}
