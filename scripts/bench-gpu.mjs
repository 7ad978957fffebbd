// npm run bench:gpu [-- OPTIONS]: gpu_bench and PyTorch on the same shapes, one after the other, side by side.

import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";
import { jobs, root, run } from "./setup.mjs";

const HELP = `Usage: npm run bench:gpu [-- OPTIONS]

Builds gpu_bench, runs it and addon/bench/torch_peer.py, and prints both side by side.

  --shape NAME      llama-3.2-1b, llama-3-8b or tiny (default: llama-3.2-1b)
  --device DEVICE   cuda:0 and so on, or cpu to try the programs out (default: cuda:0)
  --folder PATH     where random models and adapters are made (default: a folder for it among the temporary ones)
  --rounds N        steps of each measurement (default: 64)
  --bandwidth GB_S  what the memory reads at most, of which shares are printed (default: 4800, an H200's)
  --peak TFLOPS     what its tensor cores compute at most in bfloat16 (default: 790, an H200's)
  --python PATH     a Python with PyTorch (default: python3); without PyTorch its columns are left out
  --official PATH   a checkout of the official S'MoRE implementation, whose layer is measured too`;

const SHAPES = ["llama-3.2-1b", "llama-3-8b", "tiny"];

/** What was called in a wrong way: one line, and 2. */
class UsageFault extends Error {}

function readOptions() {
  try {
    const { values } = parseArgs({
      options: {
        shape: { type: "string", default: "llama-3.2-1b" },
        device: { type: "string", default: "cuda:0" },
        folder: { type: "string", default: join(tmpdir(), "smore-gpu-bench") },
        rounds: { type: "string", default: "64" },
        bandwidth: { type: "string", default: "4800" },
        peak: { type: "string", default: "790" },
        python: { type: "string", default: "python3" },
        official: { type: "string" },
        help: { type: "boolean", short: "h", default: false },
      },
    });
    if (!SHAPES.includes(values.shape))
      throw new Error(`--shape must be one of ${SHAPES.join(", ")}`);
    if (!/^(cpu|cuda:[0-9]+)$/.test(values.device))
      throw new Error("--device must be cpu or cuda:N");
    if (!/^[1-9][0-9]{0,5}$/.test(values.rounds))
      throw new Error("--rounds must be a number above 0");
    for (const limit of /** @type {const} */ (["bandwidth", "peak"])) {
      if (!(Number(values[limit]) > 0)) throw new Error(`--${limit} must be a number above 0`);
    }
    return values;
  } catch (error) {
    throw new UsageFault(
      `${/** @type {Error} */ (error).message.split(". ")[0]} (--help lists all)`,
    );
  }
}

/** @typedef {{ tokens: string, ms: string }} Figure */
/** @typedef {ReturnType<typeof readOptions>} Options */

/** "64 streams   1234 tokens/s   5.678 ms ..." */
const LINE = /^(.{44}) +(\d+) tokens\/s +([\d.]+) ms/;

/**
 * Runs a program, shows its lines as they come, and gives them.
 * @param {string} command @param {string[]} args
 */
async function linesOf(command, args) {
  const child = spawn(command, args, { cwd: root, stdio: ["ignore", "pipe", "inherit"] });
  const closed = once(child, "close");
  const lines = [];
  for await (const line of createInterface({ input: child.stdout })) {
    console.log(line);
    lines.push(line);
  }
  const [status] = await closed;
  if (status !== 0) throw new Error(`${command} ${args[0]} ended with ${status}`);
  return lines;
}

/** @param {Options} values */
function build(values) {
  const cuda = values.device.startsWith("cuda") ? "ON" : "OFF";
  const configure = ["-S", ".", "-B", "build/native", "-DCMAKE_BUILD_TYPE=Release"];
  const built =
    run("cmake", [...configure, `-DSMORE_CUDA=${cuda}`, "--log-level=WARNING"]) &&
    run("cmake", ["--build", "build/native", "--target", "gpu_bench", "--parallel", jobs]);
  if (!built) throw new Error("gpu_bench cannot be built");
}

/** @param {Options} values @returns {Promise<string[]>} nothing where there is no PyTorch */
async function peerLines(values) {
  if (spawnSync(values.python, ["-c", "import torch"]).status !== 0) {
    console.log(`${values.python} has no PyTorch: --python names one that has`);
    return [];
  }
  const device = values.device.replace("cuda:0", "cuda");
  const options = ["--shape", values.shape, "--device", device, "--rounds", values.rounds];
  if (values.official !== undefined) options.push("--official", values.official);
  return await linesOf(values.python, ["addon/bench/torch_peer.py", ...options]);
}

/** @param {string[]} ours @param {string[]} peer */
function sideBySide(ours, peer) {
  /** @type {Map<string, Map<string, Figure>>} name -> column -> figure */
  const rows = new Map();
  /** @param {string} column @param {string} line */
  const add = (column, line) => {
    const [, name = "", tokens = "", ms = ""] = LINE.exec(line) ?? [];
    if (name === "") return;
    const row = rows.get(name.trim()) ?? new Map();
    rows.set(name.trim(), row.set(column, { tokens, ms }));
  };
  for (const line of ours) add("smore", line);
  for (const line of peer) add(line.slice(0, 9).trim(), line.slice(10));
  const columns = ["smore", "eager", "compiled", "official"];
  console.log(`\n${"tokens/s (ms)".padEnd(40)}${columns.map((c) => c.padStart(20)).join("")}`);
  for (const [name, row] of rows) {
    const cells = columns.map((column) => {
      const figure = row.get(column);
      return (figure === undefined ? "-" : `${figure.tokens} (${figure.ms})`).padStart(20);
    });
    console.log(name.padEnd(40) + cells.join(""));
  }
}

async function main() {
  const values = readOptions();
  if (values.help) return console.log(HELP);
  build(values);
  const program = join(root, "build/native/gpu_bench");
  const { folder, shape, device, rounds, bandwidth, peak } = values;
  const ours = await linesOf(program, [folder, shape, device, rounds, bandwidth, peak]);
  sideBySide(ours, await peerLines(values));
}

await main().catch((error) => {
  console.error(`bench:gpu: ${error.message}`);
  process.exitCode = error instanceof UsageFault ? 2 : 1;
});
