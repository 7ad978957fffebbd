/**
 * SentencePiece joins the two neighbours whose joined piece has the best score. A merge list in the
 * order of those scores does the same: every way to cut a piece in two known pieces is a merge.
 */
export function mergesFromScores(
  pieces: readonly string[],
  scores: readonly number[],
): (readonly [string, string])[] {
  const ids = new Map(pieces.map((piece, id) => [piece, id]));
  const merges: { left: string; right: string; leftId: number; rightId: number; score: number }[] =
    [];
  pieces.forEach((piece, id) => {
    for (const cut of characterBorders(piece)) {
      const left = piece.slice(0, cut);
      const right = piece.slice(cut);
      const leftId = ids.get(left);
      const rightId = ids.get(right);
      if (leftId === undefined || rightId === undefined) continue;
      merges.push({ left, right, leftId, rightId, score: scores[id] ?? 0 });
    }
  });
  merges.sort((a, b) => b.score - a.score || a.leftId - b.leftId || a.rightId - b.rightId);
  return merges.map(({ left, right }) => [left, right]);
}

function characterBorders(piece: string): number[] {
  const borders: number[] = [];
  let at = 0;
  for (const character of piece) {
    if (at > 0) borders.push(at);
    at += character.length;
  }
  return borders;
}
