import type { Program } from "../processes.js";

export const STREAMS = 16;

/** What both sides compute, in tokens. */
export const WORKLOAD = {
  prompt: 512,
  tokens: 64,
  shortPrompt: 16, // of each stream, without HTTP
  promptWords: 48, // of each request, over HTTP
  serverPositions: 512, // per stream, in the peer's cache: prompt and answer fit well
} as const;

/** Tokens per second without HTTP. */
export interface EngineFigures {
  readonly prompt: number;
  readonly oneStream: number;
  readonly manyStreams: number; // sum of STREAMS streams
  readonly build: string; // what was measured
}

/** One side of the race. */
export interface Contestant {
  readonly name: string;
  engine(model: string): Promise<EngineFigures>;
  /** A server of OpenAI's API with /health; --host and --port are added. */
  server(model: string, streams: number): Served;
}

export interface Served {
  readonly program: Program;
  readonly args: readonly string[];
  /** Seconds after which it is ended; null = never. */
  readonly timeout: number | null;
}
