import type { Command } from "./command.js";
import { COMMANDS } from "./commands.js";
import { bash } from "./completion/bash.js";
import { fish } from "./completion/fish.js";
import type { CompletedCommand } from "./completion/table.js";
import { completedOptions } from "./completion/table.js";
import { zsh } from "./completion/zsh.js";
import { parseOptions, UsageError } from "./options.js";

const SHELLS: Readonly<Record<string, (commands: readonly CompletedCommand[]) => string>> = {
  bash,
  zsh,
  fish,
};
const NAMES = Object.keys(SHELLS);

/** Prints a script that teaches a shell the commands and options, from the tables that parse them. */
export const command: Command = {
  options: {},
  operands: NAMES,
  usage: `Usage: smore completion ${NAMES.join("|")}

Prints a script that completes commands, options and their values.

Examples:
  source <(smore completion bash)                                  # this shell; in ~/.bashrc: every one
  smore completion zsh > "\${fpath[1]}/_smore"
  smore completion fish > ~/.config/fish/completions/smore.fish`,

  async run(args, terminal) {
    const { operands, help } = parseOptions({}, args, {});
    if (help) {
      terminal.print(this.usage);
      return 0;
    }
    const [shell = "", extra] = operands;
    const write = Object.hasOwn(SHELLS, shell) ? SHELLS[shell] : undefined;
    if (write === undefined || extra !== undefined) {
      throw new UsageError(`smore completion takes one of ${NAMES.join(", ")}`);
    }
    terminal.print(write(await completedCommands()).trimEnd());
    return 0;
  },
};

async function completedCommands(): Promise<CompletedCommand[]> {
  const entries = Object.entries(COMMANDS).map(async ([name, { summary, load }]) => {
    const { options, operands } = (await load()).command;
    return { name, summary, operands, options: completedOptions(options) };
  });
  return await Promise.all(entries);
}
