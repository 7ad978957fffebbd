import { listModels } from "../../client/server.js";
import { nearest } from "../../nearest.js";
import type { Conversation } from "./conversation.js";

/** What a line that begins with a slash does. */
interface ChatCommand {
  readonly usage: string;
  readonly help: string;
  /** The lines to show, or null: the program ends. */
  run(argument: string, conversation: Conversation): Promise<string[] | null>;
}

export const CHAT_COMMANDS: Readonly<Record<string, ChatCommand>> = {
  help: {
    usage: "/help",
    help: "show this",
    run: async () => helpLines(),
  },
  model: {
    usage: "/model [NAME]",
    help: "list the models and adapters, or talk to NAME from now on",
    run: (name, conversation) => (name === "" ? list(conversation) : choose(name, conversation)),
  },
  system: {
    usage: "/system [TEXT]",
    help: "begin anew with TEXT as the system message, or with none",
    run: async (text, conversation) => {
      conversation.reset();
      conversation.system = text === "" ? null : text;
      return [text === "" ? "no system message; begun anew" : "system message set; begun anew"];
    },
  },
  reset: {
    usage: "/reset",
    help: "forget what was said; the system message stays",
    run: async (_, conversation) => {
      conversation.reset();
      return ["begun anew"];
    },
  },
  exit: {
    usage: "/exit",
    help: "leave, as ctrl-D does",
    run: async () => null,
  },
};

function helpLines(): string[] {
  const rows = Object.values(CHAT_COMMANDS).map(
    ({ usage, help }) => `  ${usage.padEnd(15)} ${help}`,
  );
  return [
    ...rows,
    "  ctrl-C          stop the answer",
    `  """             begin and end a message of several lines`,
  ];
}

/** What a server with a router lists beside its models. */
const AUTO = "auto";

async function list({ server, model }: Conversation): Promise<string[]> {
  const models = await listModels(server);
  return models.map(({ id, parent }) => {
    const kind = id === AUTO ? "the server chooses" : parent === null ? "base" : "adapter";
    return `${id === model ? "*" : " "} ${id} (${kind})`;
  });
}

/** Another model reads on where the last one was: what was said stays. */
async function choose(name: string, conversation: Conversation): Promise<string[]> {
  const names = (await listModels(conversation.server)).map(({ id }) => id);
  if (names.includes(name)) {
    conversation.model = name;
    return [`talking to ${name}`];
  }
  const near = nearest(name, names);
  return [
    `there is no ${name}${near === null ? "" : `; did you mean ${near}?`} (/model lists all)`,
  ];
}

/** Runs `/name argument`; unknown names are told. */
export async function runChatCommand(
  line: string,
  conversation: Conversation,
): Promise<string[] | null> {
  const [, name = "", argument = ""] = /^\/(\S*)\s*(.*)$/s.exec(line) ?? [];
  const command = Object.hasOwn(CHAT_COMMANDS, name) ? CHAT_COMMANDS[name] : undefined;
  if (command !== undefined) return await command.run(argument.trim(), conversation);
  const near = nearest(name, Object.keys(CHAT_COMMANDS));
  return [`no such command${near === null ? "" : `; did you mean /${near}?`} (/help lists them)`];
}
