import { SAMPLING_CONTROLS, type SamplingControl, samplingFields } from "../sampling.js";
import { byId, element } from "./dom.js";

/** Sliders, the seed and the system message. */
export class SamplingView {
  readonly #values = new Map<string, number>();
  readonly #summary = byId("sampling-summary", HTMLSpanElement);
  readonly #seed = byId("seed", HTMLInputElement);
  readonly #system = byId("system", HTMLTextAreaElement);

  constructor() {
    byId("controls", HTMLDivElement).prepend(
      ...SAMPLING_CONTROLS.map((control) => this.#control(control)),
    );
    this.#seed.addEventListener("input", () => this.#tell());
    this.#tell();
  }

  fields(): Record<string, number> {
    return samplingFields(this.#values, this.#seed.value);
  }

  get system(): string {
    return this.#system.value.trim();
  }

  #control({ field, label, min, max, step, initial, off, help }: SamplingControl): HTMLElement {
    const id = `sampling-${field}`;
    const slider = element("input", { id, type: "range", min, max, step, value: initial });
    slider.setAttribute("aria-describedby", `${id}-help`);
    const shown = element("output", { for: id });
    const show = () => {
      shown.textContent = Number(slider.value) === off ? "off" : slider.value;
    };
    slider.addEventListener("input", () => {
      this.#values.set(field, Number(slider.value));
      show();
      this.#tell();
    });
    show();
    const note = element("span", { class: "quiet control-help", id: `${id}-help` }, help);
    return element(
      "div",
      { class: "control" },
      element("label", { for: id }, label),
      shown,
      slider,
      note,
    );
  }

  #tell(): void {
    const told = Object.entries(this.fields()).map(([field, value]) => `${field} ${value}`);
    this.#summary.textContent = told.join(" · ");
  }
}
