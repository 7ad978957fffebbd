const BYTE_UNITS = ["B", "KB", "MB", "GB", "TB"] as const;
const COUNT_UNITS = ["", " K", " M", " G", " T"] as const;

export function bytesText(bytes: number): string {
  return scaled(
    bytes,
    BYTE_UNITS.map((unit) => ` ${unit}`),
  );
}

export function countText(count: number): string {
  return scaled(count, COUNT_UNITS);
}

function scaled(value: number, units: readonly string[]): string {
  let power = 0;
  let rest = value;
  while (rest >= 1000 && power + 1 < units.length) {
    rest /= 1000;
    power++;
  }
  return `${power === 0 ? rest : rest.toPrecision(3)}${units[power]}`;
}
