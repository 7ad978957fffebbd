import { existsSync, readdirSync, statSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { ACTIVATIONS } from "../engine/native.js";
import { type Command, CommandError } from "./command.js";
import { native } from "./engine.js";
import { choice, optionHelp, parseOptions, text, UsageError } from "./options.js";

const OPTIONS = {
  backend: text({
    initial: null,
    placeholder: "NAME",
    help: "kernel path, as --kernel-path of serve, or a GPU such as cuda:0; all = every one of this machine in turn",
    shown: "the machine's best",
  }),
  activations: choice(ACTIVATIONS, {
    initial: "fp32",
    help: "how the base's products are computed",
  }),
} as const;

const USAGE = `Usage: smore verify DIR [OPTIONS]

Runs golden files of single layers (.safetensors) through the backend that the server uses.
Exit code 0 when all pass, else 1.

${optionHelp(OPTIONS)}

Example: smore verify test/fixtures/smore --backend all`;

export const command: Command = {
  options: OPTIONS,
  operands: "paths",
  usage: USAGE,
  async run(args, terminal) {
    const { values, operands, help } = parseOptions(OPTIONS, args, {});
    if (help) {
      terminal.print(USAGE);
      return 0;
    }
    const [target, extra] = operands;
    if (target === undefined) throw new UsageError("verify needs a folder of golden files");
    if (extra !== undefined) throw new UsageError(`unexpected argument "${extra}"`);

    const files = goldenFiles(target);
    let failed = 0;
    const paths = backends(values.backend);
    for (const path of paths) {
      terminal.print(`kernel path ${path}`);
      for (const file of files) {
        const result = await native().verifyLayer(file, path, values.activations);
        if (!result.passed) failed += 1;
        terminal.print(`${result.passed ? "ok  " : "FAIL"} ${basename(file)} ${result.detail}`);
      }
    }
    terminal.print(`${files.length * paths.length - failed} passed, ${failed} failed`);
    return failed === 0 ? 0 : 1;
  },
};

function backends(wanted: string | null): readonly string[] {
  const known = [...native().cpuPaths(), ...native().cudaDevices()];
  if (wanted === "all") return known;
  if (wanted === null) return known.slice(0, 1);
  if (known.includes(wanted)) return [wanted];
  throw new UsageError(`--backend must be one of ${known.join(", ")}, all, not "${wanted}"`);
}

/** Weights are .safetensors files too, but say not what should come of them. */
function refuseModels(folder: string): void {
  const what = ["adapter", "model"] as const;
  const found = what.find((kind) => existsSync(join(folder, CONFIGS[kind])));
  if (found === undefined) return;
  throw new CommandError(
    `"${folder}" is ${found === "adapter" ? "an adapter" : "a model"}, and verify takes golden files: a layer with its inputs ` +
      `and outputs, such as those in test/fixtures/smore; smore inspect ${folder} shows the ${found}`,
  );
}

const CONFIGS = { adapter: "adapter_config.json", model: "config.json" };

function goldenFiles(target: string): string[] {
  const stats = statSync(target, { throwIfNoEntry: false });
  if (stats === undefined) throw new CommandError(`there is no file or folder "${target}"`);
  refuseModels(stats.isDirectory() ? target : dirname(target));
  if (!stats.isDirectory()) return [target];
  const files = readdirSync(target)
    .filter((name) => name.endsWith(".safetensors"))
    .sort()
    .map((name) => join(target, name));
  if (files.length === 0) throw new CommandError(`"${target}" holds no .safetensors file`);
  return files;
}
