import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { cacheFolder } from "../../models/catalog.js";
import { CommandError } from "../command.js";

/** The project's root, which Python modules are found from; seen from dist/src/cli/train. */
export const ROOT = fileURLToPath(new URL("../../../../", import.meta.url));

const REQUIREMENTS = join(ROOT, "models/train/requirements.txt");
const LEAST_PYTHON = [3, 11] as const;

/**
 * A Python environment with what training needs, beside the cache of models. Its name follows from the pinned
 * packages, so other pins make another one.
 */
export function environmentFolder(): string {
  const pins = createHash("sha256").update(readFileSync(REQUIREMENTS)).digest("hex");
  return join(dirname(cacheFolder()), `python-${pins.slice(0, 12)}`);
}

/** The environment's Python, or null when it has not been made. The stamp comes last: half an environment has none. */
export function preparedPython(): string | null {
  const folder = environmentFolder();
  return existsSync(stamp(folder)) ? join(folder, "bin", "python") : null;
}

/** Makes the environment if it is not there; pip's own output goes to standard error. Throws CommandError. */
export async function preparePython(complain: (line: string) => void): Promise<string> {
  const found = preparedPython();
  if (found !== null) return found;
  const folder = environmentFolder();
  checkPython();
  complain(`smore: making a Python environment in ${folder} (1 GB or more, once)`);
  rmSync(folder, { recursive: true, force: true });
  await must("python3", ["-m", "venv", folder], "on Debian: apt-get install python3-venv");
  const python = join(folder, "bin", "python");
  const pip = ["-m", "pip", "install", "--disable-pip-version-check", "-r", REQUIREMENTS];
  await must(python, pip, "is the package index reachable?");
  writeFileSync(stamp(folder), "");
  return python;
}

function stamp(folder: string): string {
  return join(folder, ".smore-ready");
}

function checkPython(): void {
  const program = "import sys; print(*sys.version_info[:2])";
  const { stdout, error } = spawnSync("python3", ["-c", program], { encoding: "utf8" });
  if (error) throw new CommandError(`training needs python3: ${error.message}`);
  const [major = 0, minor = 0] = stdout.split(" ").map(Number);
  const [leastMajor, leastMinor] = LEAST_PYTHON;
  if (major > leastMajor || (major === leastMajor && minor >= leastMinor)) return;
  throw new CommandError(
    `training needs Python ${leastMajor}.${leastMinor} or later; python3 is ${major}.${minor}`,
  );
}

async function must(command: string, args: readonly string[], advice: string): Promise<void> {
  const code = await exitOf(command, args, ["ignore", 2, 2]);
  if (code !== 0) throw new CommandError(`${command} ${args.join(" ")} failed; ${advice}`);
}

/** Runs a program in the project's root until it ends: its exit code, 128 + n where a signal ended it. */
export function exitOf(
  command: string,
  args: readonly string[],
  stdio: "inherit" | ("ignore" | number)[],
): Promise<number> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd: ROOT, stdio });
    child.on("error", reject);
    child.on("exit", (code, signal) => resolve(code ?? (signal === "SIGINT" ? 130 : 143)));
  });
}
