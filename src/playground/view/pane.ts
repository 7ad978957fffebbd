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
  /** The pane talks to another model from now on. */
  chosen(): void;
  /** Somebody wants to ask this. */
  suggested(text: string): void;
}

interface Turn {
  readonly asked: string;
  readonly view: AnswerView;
  /** Who answered: shown where that is not the model that is chosen now. */
  readonly by: HTMLElement;
}

/** One conversation with one model at a time. */
export class Pane {
  readonly root: HTMLElement;
  readonly #model: HTMLSelectElement;
  readonly #speed = element("span", { class: "speed" });
  readonly #turns = element("div", { class: "turns", tabindex: -1 });
  readonly #listener: PaneListener;
  #conversation: Turn[] = [];
  #models: readonly ModelEntry[] = [];
  #suggested: ReadonlyMap<string, readonly string[]> = new Map();

  constructor(name: string, listener: PaneListener) {
    this.#listener = listener;
    this.#model = element("select", { "aria-label": `Model of ${name}` });
    this.#model.addEventListener("change", () => {
      this.#showModel();
      listener.chosen();
    });
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
    this.#models = models;
    setOptions(
      this.#model,
      models.map(({ id }) => id),
      value === "" ? wanted : value,
    );
    if (this.#model.value !== value) this.#showModel();
  }

  /** What may be asked, by model; shown while nothing was. */
  suggest(suggested: ReadonlyMap<string, readonly string[]>): void {
    const texts = (from: typeof suggested) => JSON.stringify(from.get(this.model));
    const same = texts(suggested) === texts(this.#suggested);
    this.#suggested = suggested;
    if (!same) this.#showModel(); // else a button would lose its focus with each look at the server
  }

  renew(): void {
    this.#conversation = [];
    this.#speed.textContent = "";
    this.#showModel();
  }

  /** Begins with what was said in `other`, so that both answer the same from here on. */
  continueFrom(other: Pane): void {
    for (const { asked, view } of other.#conversation) this.#append(asked, view.answer);
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
    const view = this.#append(message, answer);
    try {
      const body = { ...fields, model: answer.model, messages, return_routing: true };
      for await (const chunk of streamChat(server, body, signal)) {
        const piece = answer.add(chunk, performance.now());
        if (piece !== null) this.#atBottom(() => view.add(piece));
        this.#listener.progress(answer, piece, this);
        this.#speed.textContent = headline(answer);
      }
      answer.state = "done";
    } catch (error) {
      this.#fail(answer, error, signal);
    }
    this.#atBottom(() => view.refresh());
    this.#listener.progress(answer, null, this);
    this.#speed.textContent = headline(answer);
  }

  #append(asked: string, answer: Answer): AnswerView {
    const view = new AnswerView(answer, (token) => this.#listener.select(answer, token));
    const by = element("p", { class: "by quiet" }, `${answer.model} answered:`);
    by.hidden = answer.model === this.model;
    if (this.#conversation.length === 0) this.#turns.replaceChildren();
    this.#conversation.push({ asked, view, by });
    this.#turns.append(element("p", { class: "asked" }, asked), by, view.root);
    this.#turns.scrollTop = this.#turns.scrollHeight;
    return view;
  }

  /** What depends on the model that is chosen. */
  #showModel(): void {
    for (const { view, by } of this.#conversation) by.hidden = view.answer.model === this.model;
    if (this.#conversation.length > 0) return;
    const chosen = this.#models.find(({ id }) => id === this.model);
    const [title, hint] = welcome(chosen, this.#models.length > 1);
    const examples = (this.#suggested.get(this.model) ?? []).map((text) => {
      const button = element("button", { type: "button" }, text);
      button.addEventListener("click", () => this.#listener.suggested(text));
      return element("li", {}, button);
    });
    const told = element("p", {}, element("strong", {}, title), hint);
    const list = element("ul", { "aria-label": "Examples" }, ...examples);
    this.#turns.replaceChildren(
      element("div", { class: "empty" }, told, ...(examples.length > 0 ? [list] : [])),
    );
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

/** What an empty conversation with `model` says: title and hint. */
function welcome(model: ModelEntry | undefined, hasAdapters: boolean): [string, string] {
  if (model === undefined) return ["", ""];
  if (model.id === "auto") {
    return ["The server chooses who answers.", "An adapter, or the base, by what is asked."];
  }
  if (model.parent !== null) {
    const does = model.task == null ? "" : `${model.task} `;
    const hint = `${does}Ask something; then select a token of the answer to see the way it took.`;
    return ["Every token chooses its experts.", hint];
  }
  const adapters =
    "Choose an adapter above, or compare both, to see which experts each token takes.";
  return ["Ask the base model something.", hasAdapters ? adapters : ""];
}

/** Who was chosen, where the server chose, and the speed. */
function headline({ chosen, speed }: Answer): string {
  const by = chosen === null ? [] : [`${chosen.model} (${chosen.score.toFixed(2)})`];
  return [...by, ...(speed === null ? [] : [speedText(speed)])].join(" · ");
}

function speedText(speed: Speed): string {
  const { firstTokenMs, tokensPerSecond, tokens } = speed;
  const rate = tokensPerSecond === null ? "" : ` · ${tokensPerSecond.toFixed(1)} tok/s`;
  return `TTFT ${milliseconds(firstTokenMs)}${rate} · ${tokens} tok`;
}
