/**
 * What others wrote, fit for a terminal: control characters but line ends and tabs could move its cursor,
 * rename its window or fill its clipboard, so that each becomes U+FFFD.
 */
export function printable(text: string): string {
  return text.replace(/[^\P{Cc}\n\t]/gu, "\ufffd");
}

/** What goes through a pipe or into a file stays as it is. */
export function printableOn({ isTTY }: { readonly isTTY?: boolean }, text: string): string {
  return isTTY === true ? printable(text) : text;
}
