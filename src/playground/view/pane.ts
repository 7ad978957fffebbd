import { type ChatMessage, streamChat } from "../../client/chat.js";
import { type ModelEntry, type Server, ServerError } from "../../client/server.js";
import { Answer, type Piece, type Speed } from "../answer.js";
import { milliseconds } from "../format.js";
import { AnswerView } from "./answer-view.js";
import { element, setOptions } from "./dom.js";

/** What a pane tells the rest of the page. */
export interface PaneListener {
  /** A token came, with a piece of text or without, or the answer ended. */
  progress(answer: Answer, piece: Piece | null, pane: Pane): void;
  select(answer: Answer, token: number): void;
  refused(error: ServerError): void;
}

interface Turn {
  readonly asked: string;
  readonly view: AnswerView;
}

/** One conversation with one model at a time. */
export class Pane {
  readonly root: HTMLElement;
  readonly #model: HTMLSelectElement;
  readonly #speed = element("span", { class: "speed" });
  readonly #turns = element("div", { class: "turns", tabindex: -1 });
  readonly #listener: PaneListener;
  #conversation: Turn[] = [];

  constructor(name: string, listener: PaneListener) {
    this.#listener = listener;
    this.#model = element("select", { "aria-label": `Model of ${name}` });
    const head = element("div", { class: "pane-head" }, this.#model, this.#speed);
    this.root = element("section", { class: "pane", "aria-label": name }, head, this.#turns);
    this.renew();
  }

  get model(): string {
    return this.#model.value;
  }

  get views(): readonly AnswerView[] {
    return this.#conversation.map(({ view }) => view);
  }

  /** `wanted`: what is chosen where the pane has chosen nothing yet. */
  offer(models: readonly ModelEntry[], wanted: string): void {
    const { value } = this.#model;
    setOptions(
      this.#model,
      models.map(({ id }) => id),
      value === "" ? wanted : value,
    );
  }

  renew(): void {
    this.#conversation = [];
    this.#speed.textContent = "";
    const title = element("strong", {}, "Every token chooses its experts.");
    const hint = "Ask something; then select a token of the answer to see the way it took.";
    this.#turns.replaceChildren(element("p", { class: "empty" }, title, hint));
  }

  /** Never rejects: what goes wrong stands below the answer. */
  async ask(
    message: string,
    system: string,
    server: Server,
    fields: Readonly<Record<string, unknown>>,
    signal: AbortSignal,
  ): Promise<void> {
    const messages = this.#messages(message, system);
    const answer = new Answer(this.model, performance.now());
    const view = new AnswerView(answer, (token) => this.#listener.select(answer, token));
    if (this.#conversation.length === 0) this.#turns.replaceChildren();
    this.#conversation.push({ asked: message, view });
    this.#turns.append(element("p", { class: "asked" }, message), view.root);
    this.#turns.scrollTop = this.#turns.scrollHeight;
    try {
      const body = { ...fields, model: answer.model, messages, return_routing: true };
      for await (const chunk of streamChat(server, body, signal)) {
        const piece = answer.add(chunk, performance.now());
        if (piece !== null) this.#atBottom(() => view.add(piece));
        this.#listener.progress(answer, piece, this);
        this.#speed.textContent = speedText(answer.speed);
      }
      answer.state = "done";
    } catch (error) {
      this.#fail(answer, error, signal);
    }
    this.#atBottom(() => view.refresh());
    this.#listener.progress(answer, null, this);
    this.#speed.textContent = speedText(answer.speed);
  }

  #fail(answer: Answer, error: unknown, signal: AbortSignal): void {
    answer.state = signal.aborted ? "stopped" : "failed";
    if (signal.aborted) return;
    if (!(error instanceof ServerError)) throw error;
    answer.error = error.message;
    this.#listener.refused(error);
  }

  /** Answers that failed were never said. */
  #messages(message: string, system: string): ChatMessage[] {
    const said = this.#conversation.filter(
      ({ view }) => view.answer.text !== "" && view.answer.error === null,
    );
    const earlier = said.flatMap(({ asked, view }): ChatMessage[] => [
      { role: "user", content: asked },
      { role: "assistant", content: view.answer.text },
    ]);
    const first: ChatMessage[] = system === "" ? [] : [{ role: "system", content: system }];
    return [...first, ...earlier, { role: "user", content: message }];
  }

  /** Follows the text as it grows, unless the reader has scrolled up. */
  #atBottom(change: () => void): void {
    const { scrollHeight, scrollTop, clientHeight } = this.#turns;
    const follows = scrollHeight - scrollTop - clientHeight < 48;
    change();
    if (follows) this.#turns.scrollTop = this.#turns.scrollHeight;
  }
}

function speedText(speed: Speed | null): string {
  if (speed === null) return "";
  const { firstTokenMs, tokensPerSecond, tokens } = speed;
  const rate = tokensPerSecond === null ? "" : ` · ${tokensPerSecond.toFixed(1)} tok/s`;
  return `TTFT ${milliseconds(firstTokenMs)}${rate} · ${tokens} tok`;
}
