import { createInterface, type Interface } from "node:readline/promises";
import { listModels, ServerError } from "../../client/server.js";
import type { Terminal } from "../command.js";
import { printable } from "../printable.js";
import { CHAT_COMMANDS, runChatCommand } from "./commands.js";
import { type Conversation, factsText } from "./conversation.js";
import { historyFile, readHistory, writeHistory } from "./history.js";
import { type Style, styleFor } from "./style.js";

const FENCE = '"""';

/** A chat with a person at a terminal, until that person leaves. Resolves to the exit code. */
export async function talk(conversation: Conversation, terminal: Terminal): Promise<number> {
  return await new Talk(conversation, terminal).run();
}

class Talk {
  readonly #conversation: Conversation;
  readonly #terminal: Terminal;
  readonly #style: Style;
  readonly #historyFile: string;
  readonly #lines: Interface;
  /** Newest first; readline tells it of every line. */
  #history: readonly string[];
  /** Set while an answer is on its way. */
  #answer: AbortController | null = null;
  /** The lines of a message that is not complete yet. */
  #fenced: string[] | null = null;

  constructor(conversation: Conversation, terminal: Terminal) {
    this.#conversation = conversation;
    this.#terminal = terminal;
    this.#style = styleFor(terminal.output, terminal.environment);
    this.#historyFile = historyFile(terminal.environment);
    this.#history = readHistory(this.#historyFile);
    const { input, output } = terminal;
    this.#lines = createInterface({
      input,
      output,
      terminal: true,
      history: [...this.#history],
      removeHistoryDuplicates: true,
      completer: (line: string) => this.#complete(line),
    });
    this.#lines.on("history", (history: string[]) => {
      this.#history = history;
    });
    this.#lines.on("SIGINT", () => this.#interrupted());
  }

  async run(): Promise<number> {
    const { accent, dim } = this.#style;
    this.#say(
      `${accent(printable(this.#conversation.model))} ${dim("/help lists the commands, ctrl-D leaves")}`,
    );
    this.#prompt();
    for await (const line of this.#lines) {
      if (!(await this.#take(line))) break;
      this.#prompt();
    }
    this.#lines.close();
    writeHistory(this.#historyFile, this.#history);
    return 0;
  }

  /** False when the person leaves. */
  async #take(line: string): Promise<boolean> {
    if (this.#fenced !== null) return await this.#continue(line, this.#fenced);
    if (line.trim().startsWith(FENCE)) {
      this.#fenced = [];
      return await this.#continue(line.trim().slice(FENCE.length), this.#fenced);
    }
    if (line.trim() === "") return true;
    if (line.startsWith("/")) return await this.#command(line);
    await this.#ask(line);
    return true;
  }

  async #continue(line: string, lines: string[]): Promise<boolean> {
    const ends = line.trimEnd().endsWith(FENCE);
    const rest = ends ? line.trimEnd().slice(0, -FENCE.length) : line;
    if (rest !== "" || lines.length > 0) lines.push(rest);
    if (!ends) return true;
    this.#fenced = null;
    const message = lines.join("\n").trim();
    if (message !== "") await this.#ask(message);
    return true;
  }

  async #command(line: string): Promise<boolean> {
    try {
      const lines = await runChatCommand(line, this.#conversation);
      for (const text of lines ?? []) this.#say(this.#style.dim(printable(text)));
      return lines !== null;
    } catch (error) {
      this.#complain(error);
      return true;
    }
  }

  async #ask(message: string): Promise<void> {
    const answer = new AbortController();
    this.#answer = answer;
    const write = (text: string) => this.#terminal.output.write(printable(text));
    try {
      const facts = await this.#conversation.ask(message, write, answer.signal);
      this.#say(`\n${this.#style.dim(printable(factsText(facts)))}`);
    } catch (error) {
      this.#say("");
      if (answer.signal.aborted) this.#say(this.#style.dim("stopped"));
      else this.#complain(error);
    } finally {
      this.#answer = null;
    }
  }

  /** What the server refuses is told, and the chat goes on. */
  #complain(error: unknown): void {
    if (!(error instanceof ServerError)) throw error;
    this.#say(this.#style.fault(printable(error.message)));
  }

  /** ctrl-C stops the answer or forgets the line, never the program. */
  #interrupted(): void {
    if (this.#answer !== null) {
      this.#answer.abort();
      return;
    }
    this.#fenced = null;
    this.#lines.write(null, { ctrl: true, name: "e" });
    this.#lines.write(null, { ctrl: true, name: "u" });
    this.#say(`\n${this.#style.dim("ctrl-D leaves")}`);
    this.#prompt();
  }

  #prompt(): void {
    const { bold, dim } = this.#style;
    this.#lines.setPrompt(this.#fenced === null ? bold("> ") : dim("… "));
    this.#lines.prompt();
  }

  #say(line: string): void {
    this.#terminal.print(line);
  }

  /** Names of commands, and of models after /model. */
  async #complete(line: string): Promise<[string[], string]> {
    const [, name] = /^\/model\s+(.*)$/.exec(line) ?? [];
    if (name !== undefined) {
      const models = await listModels(this.#conversation.server).catch(() => []);
      const names = models.map(({ id }) => id).filter((id) => printable(id) === id);
      return [names.filter((id) => id.startsWith(name)), name];
    }
    const commands = Object.keys(CHAT_COMMANDS).map((command) => `/${command}`);
    return [line.startsWith("/") ? commands.filter((text) => text.startsWith(line)) : [], line];
  }
}
