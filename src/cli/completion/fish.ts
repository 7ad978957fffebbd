import type { CompletedCommand, CompletedOption } from "./table.js";

/** For ~/.config/fish/completions/smore.fish, or to be sourced. */
export function fish(commands: readonly CompletedCommand[]): string {
  const first = commands.map(
    ({ name, summary }) =>
      `complete -c smore -n __fish_use_subcommand -f -a ${name} -d ${escaped(summary)}`,
  );
  return `# smore completion fish\n${[...first, ...commands.flatMap(lines)].join("\n")}\n`;
}

function lines({ name, operands, options }: CompletedCommand): string[] {
  const within = `complete -c smore -n ${escaped(`__fish_seen_subcommand_from ${name}`)}`;
  const named = options.map(
    (option) => `${within} -l ${option.flag.slice(2)}${value(option)} -d ${escaped(option.help)}`,
  );
  if (operands === "paths") return [`${within} -F`, ...named];
  const words = operands === "none" ? "" : ` -a ${escaped(operands.join(" "))}`;
  return [`${within} -f${words}`, ...named];
}

function value({ value }: CompletedOption): string {
  if (value === "none") return "";
  if (value === "any") return " -x";
  return value === "path" ? " -r -F" : ` -x -a ${escaped(value.join(" "))}`;
}

function escaped(text: string): string {
  return `'${text.replace(/[\\']/g, "\\$&")}'`;
}
