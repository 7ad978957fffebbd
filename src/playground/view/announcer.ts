import { byId } from "./dom.js";

const LONG = 140;

/** Reads an answer to those who hear the page: sentence by sentence, since tokens would stumble. */
export class Announcer {
  readonly #region = byId("announcer", HTMLDivElement);
  #rest = "";

  /** What a new answer is going to be. */
  begin(text: string): void {
    this.#rest = "";
    this.#region.textContent = text;
  }

  add(text: string): void {
    this.#rest += text;
    const end = /^[\s\S]*[.!?:\n](?=\s)/.exec(this.#rest)?.[0];
    if (end === undefined && this.#rest.length < LONG) return;
    this.#say(end ?? this.#rest);
  }

  end(): void {
    if (this.#rest !== "") this.#say(this.#rest);
  }

  #say(text: string): void {
    this.#rest = this.#rest.slice(text.length);
    this.#region.textContent = text.trim();
  }
}
