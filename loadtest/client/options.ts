import { choice, integer, list, text, toggle, type Values } from "../../src/cli/options.js";
import { decimal } from "../options.js";
import { ASSIGNMENTS } from "./assignment.js";

/** Flags that may be followed by several values. */
export const SPREAD_FLAGS = ["--lora-modules", "--goodput", "--metadata", "--header"];

/** The options of `vllm bench serve`, with its names and meanings; what is not in it says so. */
export const CLIENT_OPTIONS = {
  baseUrl: text({ initial: "http://127.0.0.1:8080" as string, placeholder: "URL", help: "server" }),
  backend: choice(["openai", "openai-chat", "vllm"], {
    initial: "openai",
    help: "completions, or chat; vllm = openai",
  }),
  endpoint: text({
    initial: null,
    placeholder: "PATH",
    help: "path of the request",
    shown: "/v1/completions, or /v1/chat/completions",
  }),
  model: text({ initial: null, help: "model to ask for", shown: "the first of /v1/models" }),
  loraModules: list({
    placeholder: "NAME...",
    help: "models to ask for in place of --model, one for each request",
  }),
  loraAssignment: choice(ASSIGNMENTS, {
    initial: "random",
    help: "how a request gets its model; zipf (not in vLLM): the first ones most",
  }),
  zipfExponent: decimal({ initial: 1, help: "weight of the k-th of --lora-modules is 1 / k^X" }),
  datasetName: choice(["words", "random", "custom"], {
    initial: "words",
    help: "prompts of random words (not in vLLM), random token ids, or from a file",
  }),
  datasetPath: text({
    initial: null,
    placeholder: "FILE",
    help: 'for custom: lines of {"prompt": TEXT, "output_tokens": N}',
    shown: "none",
  }),
  randomInputLen: integer({ initial: 48, min: 1, max: 1 << 20, help: "words or tokens a prompt" }),
  randomOutputLen: integer({ initial: 64, min: 1, max: 1 << 20, help: "tokens to generate" }),
  randomRangeRatio: decimal({ initial: 0, max: 1, help: "lengths vary by this share either way" }),
  randomPrefixLen: integer({
    initial: 0,
    min: 0,
    max: 1 << 20,
    help: "words or tokens that begin every prompt alike",
  }),
  randomVocabSize: integer({
    initial: 32_000,
    min: 1,
    max: 1 << 24,
    help: "random token ids are below this (not in vLLM)",
  }),
  numPrompts: integer({ initial: 1000, min: 1, max: 1 << 24, help: "requests to send" }),
  numWarmups: integer({ initial: 0, min: 0, max: 1 << 20, help: "requests before, not measured" }),
  maxConcurrency: integer({
    initial: 0,
    min: 0,
    max: 1 << 16,
    help: "requests at a time; 0 = no bound",
  }),
  requestRate: decimal({
    initial: Number.POSITIVE_INFINITY as number,
    above: 0,
    help: "requests per second; inf = all at once",
  }),
  burstiness: decimal({
    initial: 1 as number,
    above: 0,
    max: 1e6,
    help: "shape of the gamma distribution of gaps; 1 = Poisson, less = in bursts",
  }),
  rampUpStrategy: choice(["none", "linear", "exponential"], {
    initial: "none",
    help: "let the rate grow, in place of --request-rate",
  }),
  rampUpStartRps: decimal({ initial: 1 as number, above: 0, max: 1e6, help: "rate at the start" }),
  rampUpEndRps: decimal({ initial: 10 as number, above: 0, max: 1e6, help: "rate at the end" }),
  ignoreEos: toggle("generate the whole length, whatever the model says"),
  temperature: decimal({ initial: 0 as number, max: 2, help: "temperature of every request" }),
  extraBody: text({
    initial: "{}" as string,
    placeholder: "JSON",
    help: "fields added to every request",
  }),
  header: list({ placeholder: "NAME=VALUE...", help: "headers of every request" }),
  goodput: list({
    placeholder: "METRIC:MS...",
    help: "bounds on ttft, tpot, e2el that a good request keeps",
  }),
  percentileMetrics: text({
    initial: "ttft,tpot,itl,e2el" as string,
    placeholder: "LIST",
    help: "metrics to report",
  }),
  metricPercentiles: text({
    initial: "99" as string,
    placeholder: "LIST",
    help: "percentiles to report",
  }),
  readyCheckTimeoutSec: integer({
    initial: 0,
    min: 0,
    max: 86_400,
    help: "how long to wait for the server to be ready",
  }),
  seed: integer({ initial: 0, min: 0, max: 0xffff_ffff, help: "of prompts, arrivals and models" }),
  saveResult: toggle("write the result as JSON"),
  saveDetailed: toggle("the same, with the times, texts and errors of every request"),
  resultDir: text({ initial: "." as string, placeholder: "FOLDER", help: "folder of the result" }),
  resultFilename: text({
    initial: null,
    placeholder: "FILE",
    help: "its name",
    shown: "LABEL-RATEqps-concurrencyN-MODEL-DATE.json",
  }),
  label: text({ initial: null, help: "what the result is called", shown: "the backend" }),
  metadata: list({ placeholder: "KEY=VALUE...", help: "fields added to the result" }),
} as const;

export type ClientOptions = Values<typeof CLIENT_OPTIONS>;
