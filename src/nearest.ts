/**
 * The only candidate that begins with what was typed, else the one that differs least, when it is
 * near enough to be meant.
 */
export function nearest(typed: string, candidates: readonly string[]): string | null {
  const longer = candidates.filter((candidate) => candidate.startsWith(typed));
  if (longer.length === 1 && typed.length >= SHORTEST_BEGINNING) return longer[0]!;
  const ranked = candidates
    .map((candidate) => ({ candidate, distance: editDistance(typed, candidate) }))
    .sort((a, b) => a.distance - b.distance);
  const best = ranked[0];
  return best !== undefined && best.distance <= Math.max(2, typed.length / 3)
    ? best.candidate
    : null;
}

const SHORTEST_BEGINNING = 3;

function editDistance(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, index) => index);
  for (const [index, letter] of [...from].entries()) {
    const next = [index + 1];
    for (let column = 1; column <= to.length; column++) {
      const replace = row[column - 1]! + (letter === to[column - 1] ? 0 : 1);
      next.push(Math.min(replace, row[column]! + 1, next[column - 1]! + 1));
    }
    row = next;
  }
  return row[to.length]!;
}
