/** Numbers as people read them. */

export function bytes(count: number): string {
  if (count < 1000) return `${count} B`;
  const units = ["kB", "MB", "GB", "TB"];
  const step = Math.min(Math.floor(Math.log10(count) / 3), units.length);
  const amount = count / 1000 ** step;
  return `${amount.toFixed(amount < 10 ? 2 : amount < 100 ? 1 : 0)} ${units[step - 1]}`;
}

export function milliseconds(ms: number): string {
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(2)} s`;
}

export function percent(share: number): string {
  return `${(100 * share).toFixed(share > 0 && share < 0.1 ? 1 : 0)} %`;
}

/** A token's text where its blanks would not be seen. */
export function visible(text: string): string {
  if (text === "") return "end";
  return text.replaceAll("\n", "⏎").replace(/^ +| +$/g, (blanks) => "␣".repeat(blanks.length));
}
