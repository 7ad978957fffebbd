import type { Session } from "./host.js";

/** Follows a grammar at random until it ends, for tests. */
export interface Walk {
  readonly bytes: Buffer;
  readonly ended: boolean;
}

/** `random` gives integers below its argument. After half of `most` tokens it takes what ends things. */
export async function randomWalk(
  session: Session,
  spelling: (token: number) => Uint8Array,
  stopToken: number,
  random: (below: number) => number,
  most: number,
): Promise<Walk> {
  const spelt: Uint8Array[] = [];
  for (let length = 0; length < most; length++) {
    await session.made;
    if (session.bits === null) throw new Error(session.failure ?? "no mask");
    const allowed = allowedTokens(session.bits);
    const going = allowed.filter((token) => token !== stopToken);
    const mayEnd = going.length < allowed.length;
    if (mayEnd && (going.length === 0 || length > most / 2 || random(3) === 0)) {
      return { bytes: Buffer.concat(spelt), ended: true };
    }
    const closing = going.filter((token) => /^["}\]0-9]+$/.test(latin1(spelling(token))));
    const choices = length > most / 2 && closing.length > 0 ? closing : going;
    const token = choices[random(choices.length)]!;
    spelt.push(spelling(token));
    session.accept(token);
  }
  return { bytes: Buffer.concat(spelt), ended: false };
}

export function allowedTokens(bits: Uint32Array): number[] {
  const tokens: number[] = [];
  bits.forEach((word, index) => {
    for (let bit = 0; bit < 32; bit++) if ((word >>> bit) & 1) tokens.push(32 * index + bit);
  });
  return tokens;
}

function latin1(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("latin1");
}
