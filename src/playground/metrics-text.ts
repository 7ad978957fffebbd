/** The values of the Prometheus text format that the page shows. */
export class MetricsText {
  readonly #text: string;

  constructor(text: string) {
    this.#text = text;
  }

  /** The sum over a metric's series; null when there are none. */
  sum(name: string): number | null {
    const series = this.#text.split("\n").flatMap((line) => {
      const value = line.startsWith(name)
        ? /^(?:\{.*\})? (\S+)/.exec(line.slice(name.length))
        : null;
      return value === null ? [] : [Number(value[1])];
    });
    return series.length === 0 ? null : series.reduce((sum, value) => sum + value, 0);
  }
}
