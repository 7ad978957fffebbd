import { type CompletedCommand, quoted } from "./table.js";

/** For bash 3.2 and later, without the package bash-completion. */
export function bash(commands: readonly CompletedCommand[]): string {
  const names = commands.map(({ name }) => name).join(" ");
  return `# smore completion bash
_smore() {
  local current="\${COMP_WORDS[COMP_CWORD]}" previous="\${COMP_WORDS[COMP_CWORD-1]}" words=""
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W ${quoted(`${names} --help --version`)} -- "$current"))
    return
  fi
  case "\${COMP_WORDS[1]} $previous" in
${commands.flatMap(valueCases).join("\n")}
  esac
  case "\${COMP_WORDS[1]}" in
${commands.map(wordCase).join("\n")}
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -o bashdefault -o default -F _smore smore
`;
}

/** With nothing to reply, bash completes paths itself. */
function valueCases({ name, options }: CompletedCommand): string[] {
  const patterns = (flags: readonly string[]) => flags.map((flag) => `"${name} ${flag}"`).join("|");
  const open = options.filter(({ value }) => value === "any" || value === "path");
  const free =
    open.length === 0
      ? []
      : [`    ${patterns(open.map(({ flag }) => flag))}) COMPREPLY=(); return ;;`];
  const listed = options.flatMap(({ flag, value }) => {
    if (typeof value === "string") return [];
    const reply = `COMPREPLY=($(compgen -W ${quoted(value.join(" "))} -- "$current"))`;
    return [`    ${patterns([flag])}) ${reply}; return ;;`];
  });
  return [...free, ...listed];
}

function wordCase({ name, operands, options }: CompletedCommand): string {
  const flags = options.map(({ flag }) => flag).join(" ");
  if (operands === "paths") {
    return `    ${name}) case "$current" in -*) words=${quoted(flags)} ;; *) COMPREPLY=(); return ;; esac ;;`;
  }
  const words = operands === "none" ? flags : `${operands.join(" ")} ${flags}`;
  return `    ${name}) words=${quoted(words)} ;;`;
}
