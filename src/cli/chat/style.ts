/** How things look on a terminal; plain text anywhere else. */
export interface Style {
  readonly dim: (text: string) => string;
  readonly bold: (text: string) => string;
  readonly accent: (text: string) => string;
  readonly fault: (text: string) => string;
}

/** Colours only where somebody sees them and nobody declined them (NO_COLOR, TERM=dumb). */
export function styleFor(
  output: { readonly isTTY?: boolean },
  environment: Readonly<Record<string, string | undefined>>,
): Style {
  const declined = (environment.NO_COLOR ?? "") !== "" || environment.TERM === "dumb";
  const paint = (code: string) => (text: string) =>
    output.isTTY !== true || declined ? text : `\u001b[${code}m${text}\u001b[0m`;
  return { dim: paint("2"), bold: paint("1"), accent: paint("33"), fault: paint("31") };
}
