/**
 * Finds the first stop string in a text that arrives in pieces, however it is cut. First means the
 * one that is complete first; of two that end together, the longer. Text that could still become a
 * stop string is held back, so nothing of a stop string is ever shown.
 */
export class StopMatcher {
  private readonly patterns: readonly Pattern[];
  private held = "";
  private done = false;

  constructor(stops: readonly string[]) {
    this.patterns = stops.filter((stop) => stop !== "").map((stop) => new Pattern(stop));
  }

  /** Text that may be shown now; once `stop` is set it is the last, and ends before the stop string. */
  push(text: string): { readonly text: string; readonly stop: string | null } {
    if (this.done) return { text: "", stop: null };
    if (this.patterns.length === 0) return { text, stop: null };
    const base = this.held.length;
    this.held += text;
    for (let i = base; i < this.held.length; i++) {
      const stop = this.advance(this.held.charCodeAt(i));
      if (stop !== null) {
        const shown = this.held.slice(0, i + 1 - stop.length);
        this.held = "";
        this.done = true;
        return { text: shown, stop };
      }
    }
    const open = Math.max(...this.patterns.map((pattern) => pattern.matched));
    const shown = this.held.slice(0, this.held.length - open);
    this.held = this.held.slice(shown.length);
    return { text: shown, stop: null };
  }

  /** What was held back, when the text ends without a stop string. */
  flush(): string {
    const rest = this.held;
    this.held = "";
    this.done = true;
    return rest;
  }

  private advance(unit: number): string | null {
    let found: string | null = null;
    for (const pattern of this.patterns) {
      if (pattern.advance(unit) && (found === null || pattern.text.length > found.length)) {
        found = pattern.text;
      }
    }
    return found;
  }
}

/** Knuth-Morris-Pratt: how much of the pattern the text read so far ends with. */
class Pattern {
  readonly text: string;
  matched = 0;
  private readonly fallback: Uint32Array; // of each prefix: its longest proper prefix that is a suffix

  constructor(text: string) {
    this.text = text;
    this.fallback = new Uint32Array(text.length + 1);
    for (let i = 1, k = 0; i < text.length; i++) {
      while (k > 0 && text.charCodeAt(i) !== text.charCodeAt(k)) k = this.fallback[k] ?? 0;
      if (text.charCodeAt(i) === text.charCodeAt(k)) k++;
      this.fallback[i + 1] = k;
    }
  }

  advance(unit: number): boolean {
    while (this.matched > 0 && unit !== this.text.charCodeAt(this.matched)) {
      this.matched = this.fallback[this.matched] ?? 0;
    }
    if (unit === this.text.charCodeAt(this.matched)) this.matched++;
    return this.matched === this.text.length;
  }
}
