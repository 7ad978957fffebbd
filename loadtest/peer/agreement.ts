import { CommandError } from "../../src/cli/command.js";
import { readyModel } from "../client/command.js";

/** Log probabilities of the likeliest first tokens of an answer, by their ids: some have the same text. */
export type FirstTokens = ReadonlyMap<number, number>;

/** What one side said to the prompts. */
export interface Answers {
  readonly first: readonly FirstTokens[];
  readonly greedy: readonly string[];
}

/** How far two sides agree on first tokens. */
export interface FirstAgreement {
  readonly compared: number; // log probabilities of the other side's likeliest tokens
  readonly missing: number; // of them not among one's own
  readonly rms: number;
  readonly most: number;
}

export interface Agreement extends FirstAgreement {
  readonly answers: number;
  readonly same: number; // answers of the same text
  readonly commonShare: number; // of an answer's text, mean, until the first difference
}

const COMPARED_TOKENS = 5;
const ASKED_TOKENS = 10; // so that a close call at the fifth place is still found

interface Completion {
  readonly choices: readonly {
    readonly text: string;
    readonly logprobs?: Logprobs | null;
  }[];
}

/** As OpenAI's completions have them, with "token_id:N" as names, or as llama.cpp gives them there. */
interface Logprobs {
  readonly top_logprobs?: readonly Readonly<Record<string, number>>[];
  readonly content?: readonly {
    readonly top_logprobs: readonly { readonly id: number; readonly logprob: number }[];
  }[];
}

/** Asks a server of OpenAI's API for the likeliest first tokens and for greedy answers. */
export async function askAll(
  baseUrl: string,
  firstPrompts: readonly string[],
  greedyPrompts: readonly string[],
  tokens: number,
): Promise<Answers> {
  const model = await readyModel({ baseUrl });
  const first: FirstTokens[] = [];
  for (const prompt of firstPrompts) {
    const question = {
      model,
      prompt,
      max_tokens: 1,
      logprobs: ASKED_TOKENS,
      return_tokens_as_token_ids: true,
    };
    first.push(firstTokens(await ask(baseUrl, question)));
  }
  const greedy: string[] = [];
  for (const prompt of greedyPrompts) {
    greedy.push((await ask(baseUrl, { model, prompt, max_tokens: tokens })).choices[0]!.text);
  }
  return { first, greedy };
}

async function ask(baseUrl: string, question: object): Promise<Completion> {
  const request = {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ temperature: 0, ...question }),
  };
  try {
    const response = await fetch(new URL("/v1/completions", baseUrl), request);
    const text = await response.text();
    if (response.ok && isCompletion(text)) return JSON.parse(text) as Completion;
    const said = JSON.stringify(text.slice(0, 300));
    throw new CommandError(`/v1/completions answers HTTP ${response.status} with ${said}`);
  } catch (error) {
    if (error instanceof CommandError) throw error;
    const { cause, message } = error as Error & { cause?: Error };
    throw new CommandError(`/v1/completions: no answer: ${cause?.message ?? message}`);
  }
}

function isCompletion(text: string): boolean {
  try {
    return typeof JSON.parse(text).choices[0].text === "string";
  } catch {
    return false;
  }
}

/** Likeliest first. */
export function firstTokens({ choices }: Completion): FirstTokens {
  const logprobs = choices[0]?.logprobs;
  const listed = logprobs?.content?.[0]?.top_logprobs;
  const byName = Object.entries(logprobs?.top_logprobs?.[0] ?? {});
  const pairs = Array.isArray(listed)
    ? listed.map((each) => [each?.id, each?.logprob] as [number, number])
    : byName.map(([name, logprob]): [number, number] => [tokenOf(name), logprob]);
  if (pairs.length === 0 || !pairs.flat().every(Number.isFinite)) {
    throw new CommandError("/v1/completions answers without log probabilities of tokens");
  }
  return new Map(pairs.sort((a, b) => b[1] - a[1]));
}

function tokenOf(name: string): number {
  return Number(name.replace("token_id:", ""));
}

/** Both sides must have answered the same prompts. */
export function compareAnswers(own: Answers, other: Answers): Agreement {
  const shares = other.greedy.map((text, index) => commonShare(text, own.greedy[index]!));
  return {
    ...compareFirst(own.first, other.first),
    answers: shares.length,
    same: shares.filter((share) => share === 1).length,
    commonShare: shares.reduce((sum, share) => sum + share, 0) / shares.length,
  };
}

export function compareFirst(
  own: readonly FirstTokens[],
  other: readonly FirstTokens[],
): FirstAgreement {
  const differences: number[] = [];
  let missing = 0;
  for (const [index, tokens] of other.entries()) {
    for (const [token, logprob] of [...tokens].slice(0, COMPARED_TOKENS)) {
      const ours = own[index]!.get(token);
      if (ours === undefined) missing++;
      else differences.push(Math.abs(ours - logprob));
    }
  }
  const squares = differences.reduce((sum, each) => sum + each * each, 0);
  return {
    compared: differences.length,
    missing,
    rms: Math.sqrt(squares / differences.length),
    most: Math.max(...differences),
  };
}

function commonShare(a: string, b: string): number {
  const longest = Math.max(a.length, b.length);
  let same = 0;
  while (same < longest && a[same] === b[same]) same++;
  return longest === 0 ? 1 : same / longest;
}
