import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { compileFunction, constants } from "node:vm";

/**
 * Loads xgrammar, whose package claims to be an ES module and is none. It names what is wrong with a
 * grammar on its console only, so it gets one of ours.
 */

type Xgrammar = typeof import("@mlc-ai/web-xgrammar");

export interface LoadedXgrammar {
  readonly library: Xgrammar;
  /** What it printed since the last call. */
  readonly complaints: () => string;
}

export function loadXgrammar(): LoadedXgrammar {
  const require = createRequire(import.meta.url);
  const file = require.resolve("@mlc-ai/web-xgrammar");
  const lines: string[] = [];
  const keep = (...words: unknown[]) => {
    lines.push(words.join(" "));
  };
  const console = { log: keep, warn: keep, error: keep };
  const exported = {};
  compileFunction(
    readFileSync(file, "utf8"),
    ["exports", "require", "module", "__filename", "console"],
    { filename: file, importModuleDynamically: constants.USE_MAIN_CONTEXT_DEFAULT_LOADER },
  )(exported, require, { exports: exported }, file, console);
  const complaints = () => lines.splice(0).join("\n");
  return { library: exported as Xgrammar, complaints };
}

/** The reason in what the library printed when it gave a grammar up. */
export function reasonIn(complaints: string): string {
  const first = complaints.split("\n").find((line) => line.includes("FATAL")) ?? complaints;
  const reason = first.replace(/^.*?\.(?:cc|h):\d+: /, "").replace(/^Check failed: /, "");
  return reason.replaceAll(/\s+/g, " ").trim().slice(0, 300) || "it cannot be read";
}
