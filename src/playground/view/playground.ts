import {
  listModels,
  type ModelEntry,
  type Server,
  ServerError,
  whyNotReady,
} from "../../client/server.js";
import type { Answer, Piece } from "../answer.js";
import { suggestions } from "../suggestions.js";
import { Announcer } from "./announcer.js";
import { byId } from "./dom.js";
import { InsideView, type Selection } from "./inside-view.js";
import { MemoryView } from "./memory-view.js";
import { Pane } from "./pane.js";
import { PaneSwitch } from "./pane-switch.js";
import { SamplingView } from "./sampling-view.js";

const KEY_PLACE = "smore-key";
const LOADING_MS = 500;
const MEMORY_MS = 2000;

/** The page as a whole: it owns the panes, the key, and which token is selected. */
export class Playground {
  readonly #panesRoot = byId("panes", HTMLDivElement);
  readonly #message = byId("message", HTMLTextAreaElement);
  readonly #send = byId("send", HTMLButtonElement);
  readonly #stop = byId("stop", HTMLButtonElement);
  readonly #compare = byId("compare", HTMLButtonElement);
  readonly #insideToggle = byId("inside-toggle", HTMLButtonElement);
  readonly #state = byId("state", HTMLParagraphElement);
  readonly #keyForm = byId("key-form", HTMLFormElement);
  readonly #key = byId("key", HTMLInputElement);
  readonly #keyError = byId("key-error", HTMLParagraphElement);
  readonly #sampling = new SamplingView();
  readonly #memory = new MemoryView();
  readonly #announcer = new Announcer();
  readonly #inside = new InsideView((selection) => this.#select(selection));
  readonly #switch = new PaneSwitch(this.#panesRoot);
  readonly #panes: Pane[] = [];
  #server: Server = { url: "", key: sessionStorage.getItem(KEY_PLACE) };
  #models: readonly ModelEntry[] = [];
  /** What may be asked, by adapter. */
  #suggested: ReadonlyMap<string, readonly string[]> = new Map();
  #running: AbortController | null = null;
  #selection: Selection | null = null;
  /** The newest token is selected as it comes, until somebody selects one. */
  #following = true;

  constructor() {
    this.#addPane();
    const composer = byId("composer", HTMLFormElement);
    composer.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#ask();
    });
    this.#message.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      composer.requestSubmit();
    });
    this.#message.addEventListener("input", () => this.#fitMessage());
    this.#stop.addEventListener("click", () => this.#running?.abort());
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.#running?.abort();
    });
    this.#compare.addEventListener("click", () => this.#toggleCompare());
    byId("renew", HTMLButtonElement).addEventListener("click", () => this.#renew());
    this.#keyForm.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#useKey();
    });
    this.#insideToggle.addEventListener("click", () => {
      const inside = document.body.dataset.view !== "inside";
      document.body.dataset.view = inside ? "inside" : "chat";
      this.#insideToggle.setAttribute("aria-pressed", String(inside));
    });
  }

  /** Waits for the model, then keeps the page up to date for as long as it is open. */
  async run(): Promise<never> {
    for (;;) {
      const ready = await this.#untilReady();
      if (ready) await this.#refresh();
      await new Promise((resolve) => setTimeout(resolve, ready ? MEMORY_MS : LOADING_MS));
    }
  }

  async #untilReady(): Promise<boolean> {
    if (document.hidden) return false;
    try {
      const why = await whyNotReady(this.#server);
      if (why !== null) this.#tell("loading", why);
      return why === null;
    } catch (error) {
      if (!(error instanceof ServerError)) throw error;
      this.#tell("away", error.message);
      return false;
    }
  }

  async #refresh(): Promise<void> {
    try {
      await this.#listModels(); // adapters come and go
      this.#keyForm.hidden = true;
      const adapters = await this.#memory.refresh(this.#server);
      this.#suggested = new Map(
        adapters.map(({ id, card }) => [id, suggestions(card?.examples ?? [])]),
      );
      for (const pane of this.#panes) pane.suggest(this.#suggested);
    } catch (error) {
      if (!(error instanceof ServerError)) throw error;
      this.#refused(error);
    }
  }

  async #listModels(): Promise<void> {
    this.#models = await listModels(this.#server);
    const base = this.#models[0]!;
    for (const [place, pane] of this.#panes.entries()) this.#offer(pane, place);
    const adapters = this.#models.filter(({ parent }) => parent !== null).length;
    this.#tell("ready", `${base.id}, ${adapters} adapter${adapters === 1 ? "" : "s"}`);
  }

  /** The base first, as a question to nobody in particular expects; beside the base an adapter. */
  #offer(pane: Pane, place: number): void {
    const [base, adapter = base] = this.#models;
    if (base === undefined || adapter === undefined) return;
    const beside = this.#panes[0]!.model === base.id ? adapter : base;
    pane.offer(this.#models, place === 0 ? base.id : beside.id);
    this.#switch.show(this.#panes);
  }

  #tell(phase: "ready" | "loading" | "away", text: string): void {
    if (this.#state.dataset.phase === phase && this.#state.textContent === text) return;
    this.#state.dataset.phase = phase;
    this.#state.textContent = text;
    if (phase !== "ready") this.#models = [];
  }

  #refused(error: ServerError): void {
    if (error.status !== 401) {
      this.#tell(error.status === 0 ? "away" : "loading", error.message);
      return;
    }
    this.#tell("away", "an API key is needed");
    if (this.#keyForm.hidden) {
      this.#keyForm.hidden = false;
      this.#key.focus();
    }
    this.#keyError.textContent = this.#server.key === null ? "" : error.message;
  }

  #useKey(): void {
    this.#server = { url: "", key: this.#key.value.trim() };
    sessionStorage.setItem(KEY_PLACE, this.#key.value.trim());
    void this.#refresh();
  }

  #addPane(): void {
    const place = this.#panes.length;
    const pane = new Pane(place === 0 ? "Conversation" : "Comparison", {
      progress: (answer, piece, from) => this.#progress(answer, piece, from),
      select: (answer, token) => {
        this.#following = false;
        this.#select({ answer, token });
      },
      refused: (error) => {
        if (error.status === 401) this.#refused(error);
      },
      chosen: () => this.#switch.show(this.#panes),
      suggested: (text) => {
        this.#message.value = text;
        this.#fitMessage();
        this.#message.focus();
      },
    });
    this.#panes.push(pane);
    this.#panesRoot.append(pane.root);
    this.#offer(pane, place);
    pane.suggest(this.#suggested);
  }

  /** Not while an answer comes, of which the other pane would have half. */
  #toggleCompare(): void {
    const [first] = this.#panes;
    const comparing = this.#panes.length === 1;
    if (comparing) {
      this.#addPane();
      this.#panes[1]!.continueFrom(first!);
      this.#select(this.#selection);
    } else {
      this.#panes.pop()!.root.remove();
    }
    this.#panesRoot.classList.toggle("two", comparing);
    this.#compare.setAttribute("aria-pressed", String(comparing));
    this.#switch.show(this.#panes);
  }

  #renew(): void {
    this.#running?.abort();
    for (const pane of this.#panes) pane.renew();
    this.#select(null);
    this.#message.focus();
  }

  async #ask(): Promise<void> {
    const message = this.#message.value.trim();
    if (message === "" || this.#running !== null || this.#models.length === 0) return;
    this.#message.value = "";
    this.#fitMessage();
    const running = new AbortController();
    this.#setRunning(running);
    this.#following = true;
    this.#announcer.begin(`${this.#panes[0]!.model} answers.`);
    const { system } = this.#sampling;
    const fields = this.#sampling.fields();
    const answers = this.#panes.map((pane) =>
      pane.ask(message, system, this.#server, fields, running.signal),
    );
    try {
      await Promise.all(answers);
    } finally {
      this.#announcer.end();
      this.#setRunning(null);
    }
    await this.#refresh();
  }

  #setRunning(running: AbortController | null): void {
    const hadFocus = document.activeElement === this.#stop || document.activeElement === this.#send;
    this.#running = running;
    this.#send.hidden = running !== null;
    this.#stop.hidden = running === null;
    this.#compare.disabled = running !== null;
    if (hadFocus) this.#message.focus();
  }

  #fitMessage(): void {
    this.#message.style.height = "auto";
    this.#message.style.height = `${this.#message.scrollHeight + 2}px`;
  }

  /** The first pane is read out; what is followed is the first of an adapter, which has a way to show. */
  #progress(answer: Answer, piece: Piece | null, pane: Pane): void {
    const [first] = this.#panes;
    if (pane === first && piece !== null) this.#announcer.add(piece.text);
    const base = this.#models[0]?.id;
    if (pane !== (this.#panes.find(({ model }) => model !== base) ?? first)) return;
    if (this.#following && piece !== null) this.#select({ answer, token: piece.to - 1 });
    else if (this.#selection?.answer === answer) this.#inside.show(this.#selection);
  }

  #select(selection: Selection | null): void {
    this.#selection = selection;
    for (const view of this.#panes.flatMap(({ views }) => views)) {
      view.mark(selection?.answer === view.answer ? selection.token : null);
    }
    const routed = selection !== null && selection.answer.routing.adapter !== undefined;
    this.#insideToggle.classList.toggle("calls", routed);
    this.#inside.show(selection);
  }
}
