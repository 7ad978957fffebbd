import { byId, element, perFrame } from "./dom.js";
import type { Pane } from "./pane.js";

/** On a phone two panes are wider than the screen: this names both, and goes from one to the other. */
export class PaneSwitch {
  readonly #root = byId("pane-switch", HTMLDivElement);
  readonly #panesRoot: HTMLElement;
  #buttons: readonly HTMLButtonElement[] = [];

  /** `panesRoot` is what is swiped through. */
  constructor(panesRoot: HTMLElement) {
    this.#panesRoot = panesRoot;
    panesRoot.addEventListener(
      "scroll",
      perFrame(() => this.#mark()),
    );
  }

  /** Nothing is shown of a single pane. */
  show(panes: readonly Pane[]): void {
    this.#root.hidden = panes.length < 2;
    if (this.#buttons.length !== panes.length) {
      this.#buttons = panes.map(({ root }) => {
        const button = element("button", { type: "button" });
        button.addEventListener("click", () => {
          root.scrollIntoView({ block: "nearest", inline: "start" });
        });
        return button;
      });
      this.#root.replaceChildren(...this.#buttons);
    }
    for (const [i, { model }] of panes.entries()) this.#buttons[i]!.textContent = model;
    this.#mark();
  }

  /** The pane of which most is seen. */
  #mark(): void {
    const { scrollLeft, firstElementChild } = this.#panesRoot;
    const width = firstElementChild?.clientWidth ?? 0;
    const seen = width === 0 ? 0 : Math.round(scrollLeft / width);
    for (const [i, button] of this.#buttons.entries()) {
      button.setAttribute("aria-pressed", String(i === seen));
    }
  }
}
