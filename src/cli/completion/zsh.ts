import { type CompletedCommand, type CompletedOption, quoted } from "./table.js";

/** For a file _smore in $fpath, or to be sourced. */
export function zsh(commands: readonly CompletedCommand[]): string {
  const described = commands.map(({ name, summary }) => `    ${quoted(`${name}:${summary}`)}`);
  return `#compdef smore
_smore() {
  local -a commands
  commands=(
${described.join("\n")}
  )
  if (( CURRENT == 2 )); then
    _describe 'command' commands
    return
  fi
  local command="$words[2]"
  shift words
  (( CURRENT-- ))
  case "$command" in
${commands.map(commandCase).join("\n")}
  esac
}
if [ "$funcstack[1]" = "_smore" ]; then _smore "$@"; else compdef _smore smore; fi
`;
}

function commandCase({ name, operands, options }: CompletedCommand): string {
  const rest = operands === "none" ? [] : [quoted(operandSpec(operands))];
  const specs = [...options.map(optionSpec), ...rest];
  return `    ${name})\n      _arguments \\\n        ${specs.join(" \\\n        ")} ;;`;
}

function operandSpec(operands: "paths" | readonly string[]): string {
  return operands === "paths" ? "*:path:_files" : `*:name:(${operands.join(" ")})`;
}

function optionSpec({ flag, help, value }: CompletedOption): string {
  const told = help.replace(/[[\]:\\]/g, "\\$&");
  return quoted(`*${flag}${value === "none" ? "" : "="}[${told}]${action(value)}`);
}

function action(value: CompletedOption["value"]): string {
  if (value === "none") return "";
  if (value === "any") return ":value: ";
  return value === "path" ? ":path:_files" : `:value:(${value.join(" ")})`;
}
