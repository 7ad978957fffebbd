import type { Answer, Piece } from "../answer.js";
import { element } from "./dom.js";

/** One answer: its pieces as a list to select from, by pointer or by arrow keys. */

let made = 0;

export class AnswerView {
  readonly root: HTMLElement;
  readonly answer: Answer;
  readonly #pieces: HTMLElement;
  readonly #note = element("p", { class: "note" });
  readonly #shown = new Map<Piece, HTMLElement>();
  readonly #onSelect: (token: number) => void;
  #selected: Piece | null = null;

  constructor(answer: Answer, onSelect: (token: number) => void) {
    this.answer = answer;
    this.#onSelect = onSelect;
    this.#pieces = element("div", {
      class: "pieces",
      role: "listbox",
      tabindex: 0,
      "aria-orientation": "horizontal",
      "aria-label": `Answer of ${answer.model}; arrow keys select its tokens`,
    });
    this.root = element("div", { class: "answer" }, this.#pieces, this.#note);
    this.#note.hidden = true;
    this.#pieces.addEventListener("keydown", (event) => this.#onKey(event));
    for (const piece of answer.pieces) this.add(piece);
    this.refresh();
  }

  add(piece: Piece): void {
    const id = `piece-${++made}`;
    const span = element("span", { class: "piece", role: "option", id, "aria-selected": "false" });
    span.textContent = piece.text;
    span.addEventListener("click", () => this.#onSelect(piece.to - 1));
    this.#shown.set(piece, span);
    this.#pieces.append(span);
  }

  /** Shows the state: the caret of a running answer, and what is to be said of one that ended. */
  refresh(): void {
    const { state, error, finishReason } = this.answer;
    this.root.dataset.state = state;
    const note = error ?? (state === "stopped" ? "Stopped." : cutNote(finishReason));
    this.#note.textContent = note;
    this.#note.hidden = note === "";
    this.#note.classList.toggle("fault", error !== null);
    if (error !== null) this.#note.setAttribute("role", "alert");
  }

  /** Marks the piece of a token; null marks none. */
  mark(token: number | null): void {
    if (this.#selected !== null) this.#shown.get(this.#selected)!.ariaSelected = "false";
    this.#selected = token === null ? null : this.answer.pieceOf(token);
    const span = this.#selected === null ? undefined : this.#shown.get(this.#selected);
    if (span === undefined) {
      this.#pieces.removeAttribute("aria-activedescendant");
      return;
    }
    span.ariaSelected = "true";
    this.#pieces.setAttribute("aria-activedescendant", span.id);
  }

  #onKey(event: KeyboardEvent): void {
    const { pieces } = this.answer;
    const at = this.#selected === null ? -1 : pieces.indexOf(this.#selected);
    const wanted: Readonly<Record<string, number>> = {
      ArrowRight: at + 1,
      ArrowDown: at + 1,
      ArrowLeft: at - 1,
      ArrowUp: at - 1,
      Home: 0,
      End: pieces.length - 1,
    };
    const piece = pieces[wanted[event.key] ?? -1];
    if (piece === undefined) return;
    event.preventDefault();
    this.#onSelect(piece.to - 1);
    this.#shown.get(piece)!.scrollIntoView({ block: "nearest" });
  }
}

function cutNote(finishReason: string | null): string {
  return finishReason === "length" ? "Cut at the longest answer that was asked for." : "";
}
