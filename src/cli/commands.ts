import type { Command } from "./command.js";

interface Entry {
  readonly summary: string;
  readonly load: () => Promise<{ readonly command: Command }>;
}

/** Every subcommand, loaded when it is asked for. */
export const COMMANDS: Readonly<Record<string, Entry>> = {
  serve: { summary: "serve a model and its adapters", load: () => import("./serve.js") },
  chat: { summary: "talk to a model or adapter", load: () => import("./chat.js") },
  verify: { summary: "check golden files", load: () => import("./verify.js") },
  bench: { summary: "measure the engine alone", load: () => import("./bench.js") },
  train: { summary: "train an adapter from examples", load: () => import("./train.js") },
  inspect: { summary: "show a model or adapter", load: () => import("./inspect.js") },
  pull: { summary: "fetch a model", load: () => import("./pull.js") },
  completion: { summary: "print a shell's completion", load: () => import("./completion.js") },
};
