import { type Logger, pino } from "pino";

export type { Logger } from "pino";

export const LOG_LEVELS = ["trace", "debug", "info", "warn", "error", "silent"] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

export const LOG_FORMATS = ["auto", "json", "text"] as const;
export type LogFormat = (typeof LOG_FORMATS)[number];

/**
 * Logs on standard error: standard output is for people's own use. Programs read one JSON object a
 * line, people at a terminal a sentence; "auto" looks whether there is a terminal.
 */
export function createLogger(level: LogLevel, format: LogFormat = "auto"): Logger {
  const options = { level, base: null, timestamp: pino.stdTimeFunctions.isoTime };
  const json = format === "auto" ? !process.stderr.isTTY : format === "json";
  if (json) return pino(options, pino.destination(2));
  return pino(options, { write: (line) => void process.stderr.write(sentence(line)) });
}

/** `smore: adapter loaded (adapter legal, kind lora)` from the JSON of the same line. */
export function sentence(line: string): string {
  const { level, time: _, msg, err, ...fields } = JSON.parse(line) as Record<string, unknown>;
  const told = Object.entries(fields).map(([name, value]) => `${name} ${plain(value)}`);
  const details = told.length === 0 ? "" : ` (${told.join(", ")})`;
  const severity = Number(level) >= pino.levels.values.warn! ? `${labelOf(level)}: ` : "";
  const stack = err === undefined ? "" : `\n${(err as { stack: string }).stack}`;
  return `smore: ${severity}${msg}${details}${stack}\n`;
}

function labelOf(level: unknown): string {
  return pino.levels.labels[Number(level)] ?? "";
}

function plain(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}
