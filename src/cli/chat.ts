import { text as readAll } from "node:stream/consumers";
import { listModels, type Server, ServerError } from "../client/server.js";
import { nearest } from "../nearest.js";
import { Conversation } from "./chat/conversation.js";
import { startEmbedded } from "./chat/embedded.js";
import { talk } from "./chat/interactive.js";
import { type Command, CommandError, type Terminal } from "./command.js";
import {
  decimal,
  integer,
  list,
  optionHelp,
  parseOptions,
  text,
  UsageError,
  type Values,
} from "./options.js";
import { printableOn } from "./printable.js";

export const CHAT_OPTIONS = {
  url: text({
    initial: "http://127.0.0.1:8080" as string,
    placeholder: "URL",
    help: "the server to talk to",
  }),
  key: text({ initial: null, placeholder: "KEY", help: "its API key", shown: "none" }),
  to: text({
    initial: null,
    placeholder: "NAME",
    help: "the model or adapter to talk to",
    shown: "the base model",
  }),
  system: text({ initial: null, placeholder: "TEXT", help: "system message", shown: "none" }),
  temperature: decimal({
    initial: 0.2,
    min: 0,
    max: 2,
    help: "0 = always the likeliest token",
  }),
  maxTokens: integer({
    initial: null,
    min: 1,
    max: 1 << 24,
    help: "longest answer, in tokens",
    shown: "as far as the context goes",
  }),
  model: text({
    initial: null,
    placeholder: "MODEL",
    help: "load this model here in place of asking a server",
    shown: "none",
  }),
  adapter: list({ placeholder: "NAME=PATH", help: "with --model: an adapter folder; repeatable" }),
  threads: integer({
    initial: null,
    min: 1,
    max: 1024,
    help: "with --model: threads of the engine",
    shown: "one per CPU",
  }),
} as const;

type ChatValues = Values<typeof CHAT_OPTIONS>;

const USAGE = `Usage: smore chat [OPTIONS] [MESSAGE]

Talks to a model or adapter: at a terminal as long as you like, with MESSAGE or a pipe for one answer.

${optionHelp(CHAT_OPTIONS)}

The environment may say SMORE_URL and SMORE_KEY. Within a chat /help lists the commands; ctrl-C stops the
answer, ctrl-D leaves. NO_COLOR turns colours off. Exit codes: 0 done, 1 no answer, 2 wrong usage.

Examples:
  smore chat
  smore chat --to function-calls "Set a 25 minute timer."
  git diff | smore chat --system "Write a commit message for this change."
  smore chat --model ./Llama-3.2-1B-Instruct.gguf --adapter legal=./adapters/legal --to legal`;

/** Talks to a running server, or to one that it starts within itself. */
export const command: Command = {
  options: CHAT_OPTIONS,
  operands: "none",
  usage: USAGE,
  async run(args, terminal) {
    const { SMORE_URL, SMORE_KEY } = terminal.environment;
    const parsed = parseOptions(CHAT_OPTIONS, args, { SMORE_URL, SMORE_KEY });
    if (parsed.help) {
      terminal.print(USAGE);
      return 0;
    }
    const { values, operands } = parsed;
    checkPlace(values, args);
    const interactive = operands.length === 0 && isTerminal(terminal);
    const message = interactive ? "" : await givenMessage(operands, terminal);
    if (values.model === null) {
      const server = { url: values.url.replace(/\/+$/, ""), key: values.key };
      return await converse(server, values, message, terminal);
    }
    const embedded = await startEmbedded(serveOptions(values.model, values), terminal);
    try {
      return await converse(embedded.server, values, message, terminal);
    } finally {
      await embedded.stop();
    }
  },
};

/** What loads a model here and what names a server elsewhere exclude each other. */
function checkPlace({ model, adapter, threads }: ChatValues, args: readonly string[]): void {
  const given = (flag: string) => args.some((arg) => arg === flag || arg.startsWith(`${flag}=`));
  const wrong = ["--url", "--key"].find(given);
  if (model !== null && wrong !== undefined) {
    throw new UsageError(
      `${wrong} and --model exclude each other: a server, or a model loaded here`,
    );
  }
  if (model === null && adapter.length > 0) throw new UsageError("--adapter needs --model");
  if (model === null && threads !== null) throw new UsageError("--threads needs --model");
}

function serveOptions(model: string, { adapter, threads }: ChatValues): string[] {
  const adapters = adapter.flatMap((entry) => ["--adapter", entry]);
  return ["--model", model, ...adapters, ...(threads === null ? [] : ["--threads", `${threads}`])];
}

function isTerminal({ input, output }: Terminal): boolean {
  return input.isTTY === true && output.isTTY === true;
}

/** The message of the command line, and what comes through a pipe below it. */
async function givenMessage(operands: readonly string[], { input }: Terminal): Promise<string> {
  const complete = operands.length > 0 && input.isTTY === true;
  const piped = complete ? "" : (await readAll(input)).trim();
  const message = [operands.join(" "), piped].filter((part) => part !== "").join("\n\n");
  if (message === "") throw new UsageError("nothing to say: give a message, a pipe or a terminal");
  return message;
}

/** `message` "": as a person at the terminal likes. */
async function converse(
  server: Server,
  values: ChatValues,
  message: string,
  terminal: Terminal,
): Promise<number> {
  try {
    const model = await chosenModel(server, values.to);
    const conversation = new Conversation(server, model, values.system, values);
    if (message === "") return await talk(conversation, terminal);
    const { output } = terminal;
    await conversation.ask(message, (text) => output.write(printableOn(output, text)), never);
    output.write("\n");
    return 0;
  } catch (error) {
    if (!(error instanceof ServerError)) throw error;
    throw new CommandError(explain(error, server));
  }
}

/** A signal ends the whole program where one answer is all it does. */
const never = new AbortController().signal;

async function chosenModel(server: Server, name: string | null): Promise<string> {
  const names = (await listModels(server)).map(({ id }) => id);
  if (name === null) return names[0]!;
  if (names.includes(name)) return name;
  const near = nearest(name, names);
  const hint = near === null ? `there are ${names.join(", ")}` : `did you mean ${near}?`;
  throw new CommandError(`--to ${name}: no such model or adapter; ${hint}`);
}

function explain({ status, message }: ServerError, { url }: Server): string {
  if (status === 0) return `${url}: ${message}; ${NO_SERVER}`;
  return status === 401 ? `${message} (--key KEY or SMORE_KEY)` : message;
}

const NO_SERVER =
  "start one with smore serve (npm start in a clone), name another by --url URL, " +
  "or load a model here by --model MODEL";
