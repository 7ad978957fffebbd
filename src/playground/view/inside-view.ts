import type { Answer } from "../answer.js";
import { percent, visible } from "../format.js";
import { byId, perFrame, setOptions } from "./dom.js";
import { drawHeat, mostOf } from "./heat-view.js";
import { drawTree } from "./tree-view.js";

/** A token of an answer. */
export interface Selection {
  readonly answer: Answer;
  readonly token: number;
}

/** What the selected token went through, and all of its answer's tokens. */
export class InsideView {
  readonly #note = byId("routing-note", HTMLParagraphElement);
  readonly #routing = byId("routing", HTMLDivElement);
  readonly #name = byId("token-name", HTMLSpanElement);
  readonly #previous = byId("previous-token", HTMLButtonElement);
  readonly #next = byId("next-token", HTMLButtonElement);
  readonly #layer = byId("layer", HTMLSelectElement);
  readonly #linear = byId("linear", HTMLSelectElement);
  readonly #tree = byId("tree", HTMLDivElement);
  readonly #heatCard = byId("heat-card", HTMLElement);
  readonly #heat = byId("heat", HTMLDivElement);
  readonly #heatScope = byId("heat-scope", HTMLParagraphElement);
  readonly #heatMost = byId("heat-most", HTMLSpanElement);
  readonly #draw = perFrame(() => this.#drawNow());
  #selection: Selection | null = null;

  /** `onStep` is asked for another token of the same answer. */
  constructor(onStep: (selection: Selection) => void) {
    const step = (by: number) => {
      if (this.#selection === null) return;
      const { answer, token } = this.#selection;
      onStep({ answer, token: token + by });
    };
    this.#previous.addEventListener("click", () => step(-1));
    this.#next.addEventListener("click", () => step(1));
    for (const select of [this.#layer, this.#linear]) select.addEventListener("change", this.#draw);
    new ResizeObserver(this.#draw).observe(this.#tree);
  }

  show(selection: Selection | null): void {
    this.#selection = selection;
    this.#draw();
  }

  #drawNow(): void {
    const selection = this.#selection;
    const routing = selection?.answer.routing;
    this.#drawSteps(selection);
    const adapter = routing?.adapter;
    this.#routing.hidden = adapter === undefined;
    this.#heatCard.hidden = adapter === undefined;
    this.#note.hidden = adapter !== undefined;
    if (selection === null || routing === undefined || adapter === undefined) {
      if (selection !== null) this.#note.textContent = whyNone(selection.answer);
      return;
    }
    const names = [...new Set(adapter.linears.map(({ name }) => name))];
    setOptions(this.#linear, names);
    const linear = this.#linear.value;
    const layers = adapter.linears.filter(({ name }) => name === linear).map(({ layer }) => layer);
    setOptions(this.#layer, layers.map(String));
    this.#drawTree(selection, linear, Number(this.#layer.value));
    this.#drawHeat(selection, linear);
  }

  #drawSteps(selection: Selection | null): void {
    const last = (selection?.answer.routing.tokens.length ?? 0) - 1;
    this.#previous.disabled = selection === null || selection.token <= 0;
    this.#next.disabled = selection === null || selection.token >= last;
    this.#name.textContent = selection === null ? "none" : `“${visible(textOf(selection))}”`;
  }

  #drawTree(selection: Selection, linear: string, layer: number): void {
    const { answer, token } = selection;
    const { routing } = answer;
    const place = routing.adapter!.linears.findIndex(
      (one) => one.name === linear && one.layer === layer,
    );
    const tree = routing.subTree(token, place);
    if (tree === null) return;
    const where = `layer ${layer}, ${linear}`;
    const width = Math.max(280, this.#tree.clientWidth);
    this.#tree.replaceChildren(drawTree(tree, textOf(selection), where, width));
  }

  #drawHeat({ answer, token }: Selection, linear: string): void {
    const { routing } = answer;
    const heat = routing.heat(linear);
    const taken = routing.adapter!.linears.flatMap(({ name }, place) =>
      name === linear ? [routing.subTree(token, place)] : [],
    );
    const marks = {
      layer: Number(this.#layer.value),
      taken,
      onLayer: (layer: number) => {
        this.#layer.value = String(layer);
        this.#draw();
      },
    };
    const width = Math.max(280, this.#heat.clientWidth);
    this.#heat.replaceChildren(drawHeat(heat, marks, width));
    this.#heatScope.textContent = `${linear}, ${routing.tokens.length} tokens of ${routing.adapter!.name}`;
    this.#heatMost.textContent = percent(mostOf(heat));
  }
}

function textOf({ answer, token }: Selection): string {
  return answer.pieceOf(token)?.text ?? "";
}

function whyNone({ model, routing, state }: Answer): string {
  if (routing.tokens.length > 0) {
    return `${model} has no experts to choose between: every token takes the same way.`;
  }
  if (state === "waiting") return "Waiting for the first token.";
  return "The server sent no routing with this answer.";
}
