import type { LogFormat, Logger } from "../log.js";
import type { AdapterFollower } from "../models/adapters.js";
import type { ProgressOutput } from "../models/progress.js";

/** A line for every adapter that comes or goes, whoever asked for it. */
export function adapterLog(log: Logger): AdapterFollower {
  return {
    served: ({ name, info: { linears: _, ...info } }) =>
      log.info({ adapter: name, ...info }, "adapter loaded"),
    retired: ({ name, adapter: handle }) => log.info({ adapter: name, handle }, "adapter unloaded"),
  };
}

/** Where a long load is shown: a bar for people at a terminal, lines of the log for everybody else. */
export function progressOutput(log: Logger, format: LogFormat): ProgressOutput {
  const people = process.stderr.isTTY && format !== "json" && log.isLevelEnabled("info");
  return people ? process.stderr : { write: (line: string) => log.info(line.trimEnd()) };
}
