import { constants } from "node:os";
import { CommandError } from "../src/cli/command.js";
import { UsageError } from "../src/cli/options.js";
import { ModelError } from "../src/models/model-error.js";

/** Runs a tool by its name; without one, the streaming client. Exit codes: 0 done, 1 failed, 2 wrong usage. */

type Tool = (args: readonly string[]) => Promise<number>;

const TOOLS: Readonly<Record<string, () => Promise<Tool>>> = {
  stream: async () => (await import("./client/command.js")).stream,
  adapters: async () => (await import("./adapters/command.js")).adapters,
  plots: async () => (await import("./plots/command.js")).plots,
  http: async () => (await import("./http/command.js")).http,
  soak: async () => (await import("./soak/command.js")).soak,
  bars: async () => (await import("./bars/command.js")).bars,
  hold: async () => (await import("./hold/command.js")).hold,
  report: async () => (await import("./report/command.js")).report,
  serving: async () => (await import("./serving/command.js")).serving,
  compare: async () => (await import("./peer/compare.js")).compare,
  peer: async () => (await import("./peer/command.js")).peer,
};

for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.on(signal, () => process.exit(128 + constants.signals[signal]));
}

const args = process.argv.slice(2);
const name = Object.hasOwn(TOOLS, args[0] ?? "") ? args.shift()! : "stream";

try {
  const tool = await TOOLS[name]!();
  process.exit(await tool(args));
} catch (error) {
  const expected = [UsageError, CommandError, ModelError].some((kind) => error instanceof kind);
  console.error(expected ? (error as Error).message : error);
  process.exit(error instanceof UsageError ? 2 : 1);
}
