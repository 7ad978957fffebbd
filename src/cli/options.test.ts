import assert from "node:assert/strict";
import { test } from "node:test";
import { readConfig, SERVE_OPTIONS } from "../config.js";
import {
  budget,
  bytesOf,
  list,
  optionHelp,
  parseOptions,
  size,
  UsageError,
  unknownVariables,
  usableMemory,
} from "./options.js";

const config = (args: string[], environment: Record<string, string> = {}) =>
  readConfig(args, environment)!;
const refuses = (args: string[], message: string, environment: Record<string, string> = {}) =>
  assert.throws(
    () => readConfig(args, environment),
    (error) => error instanceof UsageError && error.message === message,
  );

test("flags win over the environment, the environment over defaults", () => {
  assert.equal(config([]).port, 8080);
  assert.equal(config([], { SMORE_PORT: "81" }).port, 81);
  assert.equal(config(["--port", "82"], { SMORE_PORT: "81" }).port, 82);
  assert.equal(config(["--max-batch=4"]).maxBatch, 4);
});

test("the configuration is frozen", () => {
  assert.throws(() => Object.assign(config([]), { port: 1 }), TypeError);
});

test("whatever is wrong is named in one line", () => {
  refuses(["--prot", "1"], "unknown option --prot; did you mean --port?");
  refuses(["--colour"], "unknown option --colour");
  refuses(["--port"], "--port needs a value");
  refuses(["--port", "99999"], '--port must be a whole number from 0 to 65535, not "99999"');
  refuses(["--port", "-1"], '--port must be a whole number from 0 to 65535, not "-1"');
  refuses([], 'SMORE_THREADS must be a whole number from 1 to 1024, not "two"', {
    SMORE_THREADS: "two",
  });
  refuses(["--quantize", "q5"], '--quantize must be one of none, q8_0, q4_0, not "q5"');
  refuses(["--kv-memory", "lots"], `--kv-memory ${SIZES}, not "lots"`);
  refuses(["serve"], 'unexpected argument "serve"');
  refuses(
    ["--max-batch", "8", "--max-batch-tokens", "4"],
    '--max-batch-tokens must be at least --max-batch (8), not "4"',
  );
});

const SIZES = "must be a size such as 512MiB, 4GiB or 25% (of memory)";

test("sizes have units or are shares of the memory", () => {
  const parse = (size: string) => parseOptions({ size: budget("10%", "") }, ["--size", size], {});
  assert.deepEqual(parse("64MiB").values.size, { bytes: 64 << 20 });
  assert.deepEqual(parse("1.5KB").values.size, { bytes: 1500 });
  assert.deepEqual(parse("4096").values.size, { bytes: 4096 });
  assert.deepEqual(parse("50%").values.size, { share: 0.5 });
  assert.equal(bytesOf({ share: 0.25 }, 4001), 1000);
  assert.equal(bytesOf({ bytes: 7 }, 4001), 7);
  for (const size of ["0", "0%", "0.0%"]) assert.throws(() => parse(size), /must be above 0/);
  assert.throws(() => parse("101%"), /at most 100% of memory/);
  assert.throws(() => parse("9999999TB"), /at most 8192TiB/);
});

test("what is of a GPU is refused where the CPU is asked for", () => {
  refuses(
    ["--gpu-adapter-memory", "1GiB"],
    "--gpu-adapter-memory is of a GPU and does not go with --device cpu",
  );
  const { gpuAdapterMemory } = config(["--device", "auto", "--gpu-adapter-memory", "25%"]);
  assert.deepEqual(gpuAdapterMemory, { share: 0.25 });
  refuses(
    ["--gpu-products", "cublaslt"],
    "--gpu-products is of a GPU and does not go with --device cpu",
  );
  refuses([], "SMORE_CUBLASLT is of a GPU and does not go with --device cpu", {
    SMORE_CUBLASLT: "libcublasLt.so.13",
  });
  refuses(
    ["--device", "cuda:0", "--cublaslt", "libcublasLt.so.13"],
    "--cublaslt does not go without --gpu-products cublaslt",
  );
  const library = config(["--device", "auto", "--gpu-products", "cublaslt", "--cublaslt", "a.so"]);
  assert.deepEqual([library.gpuProducts, library.cublaslt], ["cublaslt", "a.so"]);
});

test("sizes of the host's memory are no more than it", () => {
  const parse = (bytes: string) =>
    parseOptions({ bytes: size("8MiB", "") }, ["--bytes", bytes], {});
  assert.equal(parse("50%").values.bytes, Math.floor(usableMemory() / 2));
  for (const bytes of ["99TiB", "99TB"]) assert.throws(() => parse(bytes), /at most the memory/);
});

test("adapters are named, each once, by names that routers can list", () => {
  const { adapters } = config(["--adapter", "a=x", "--adapter", "b=/y=z"]);
  assert.deepEqual(adapters, [
    { name: "a", path: "x" },
    { name: "b", path: "/y=z" },
  ]);
  refuses(["--adapter", "a"], '--adapter must be NAME=PATH, not "a"');
  refuses(["--adapter", "a=x", "--adapter", "a=y"], '--adapter "a" is given twice');
  for (const name of ["a,b", "a/b", "..", "a b", "a\u0007"]) {
    assert.throws(() => config(["--adapter", `${name}=x`]), /the name must not hold/);
  }
});

test("lists come from repeated flags or from the environment with commas", () => {
  const table = { key: list({ help: "" }) };
  assert.deepEqual(parseOptions(table, ["--key", "a", "--key", "b"], {}).values.key, ["a", "b"]);
  assert.deepEqual(parseOptions(table, [], { SMORE_KEY: "a,b" }).values.key, ["a", "b"]);
});

test("what stands there twice or for nothing is named as the user wrote it", () => {
  refuses(["--port", "1", "--port", "2"], "--port is given twice");
  refuses(["--model", ""], "--model must not be empty");
  refuses([], 'SMORE_ADAPTER must be NAME=PATH, not "x"', { SMORE_ADAPTER: "x" });
  refuses(
    ["--served-model-name", "a\nb"],
    '--served-model-name must not hold control characters, not "a\\nb"',
  );
  assert.deepEqual(
    unknownVariables(SERVE_OPTIONS, { SMORE_PROT: "1", SMORE_PORT: "1", SMORE_MODEL_CACHE: "x" }),
    ["SMORE_PROT"],
  );
});

test("an origin is written as browsers send it", () => {
  const AN_ORIGIN = "must be * or an origin such as https://chat.example.org";
  for (const origin of ["*", "http://a.test:8080", "chrome-extension://abc", "tauri://localhost"]) {
    assert.equal(config(["--cors-origin", origin]).corsOrigin, origin);
  }
  refuses(["--cors-origin", "a.test"], `--cors-origin ${AN_ORIGIN}, not "a.test"`);
  for (const wrong of ["https://a.test/", "https://a.test:443", "https://A.test"]) {
    refuses(
      ["--cors-origin", wrong],
      `--cors-origin ${AN_ORIGIN}; here https://a.test, not "${wrong}"`,
    );
  }
});

test("help names every option with its default", () => {
  const help = optionHelp(SERVE_OPTIONS);
  assert.match(help, /--kv-memory SIZE +memory for keys and values \(default: 10% of memory\)/);
  assert.equal(help.match(/--/g)!.length >= Object.keys(SERVE_OPTIONS).length, true);
  assert.equal(readConfig(["--help", "--nonsense"], {}), null);
});
