import { readFileSync } from "node:fs";
import { CommandError } from "../../src/cli/command.js";
import { between, type Random } from "./random.js";

/** What one request asks: a text, or the ids of tokens. */
export interface Sample {
  readonly prompt: string | readonly number[];
  readonly outputLength: number;
}

export interface DatasetOptions {
  readonly datasetName: "words" | "random" | "custom";
  readonly datasetPath: string | null;
  readonly randomInputLen: number;
  readonly randomOutputLen: number;
  readonly randomRangeRatio: number;
  readonly randomPrefixLen: number;
  readonly randomVocabSize: number;
}

/** Common words; nearly all are one token each in the usual vocabularies. */
const WORDS =
  `the of and to in is that for it was on are as with they at be this from have or by one
had not but what all were when we there can an your which their said if do will each about how up out
them then she many some so these would other into has more her two like him see time could no make than
first been its who now people my made over did down only way find use may water long little very after
words called just where most know get through back much before go good new write our used me man too any
day same right look think also around another came come work three word must because does part even place
well such here take why things help put years different away again off went old number great tell men say
small every found still between name should home big give air line set own under read last never us left
end along while might next sound below saw something thought both few those always show large often
together asked house world`.split(/\s+/);

/** `count` samples; a file with fewer lines is gone through again. */
export function makeSamples(count: number, options: DatasetOptions, random: Random): Sample[] {
  if (options.datasetName === "custom") return fromFile(count, options);
  const ofWords = options.datasetName === "words";
  const kinds = ofWords ? WORDS.length : options.randomVocabSize;
  const draw = (length: number) => Array.from({ length }, () => between(random, 0, kinds - 1));
  const prefix = draw(options.randomPrefixLen);
  const vary = (length: number) => {
    const spread = Math.floor(length * options.randomRangeRatio);
    return Math.max(1, between(random, length - spread, length + spread));
  };
  return Array.from({ length: count }, () => {
    const ids = [...prefix, ...draw(vary(options.randomInputLen))];
    const prompt = ofWords ? ids.map((id) => WORDS[id]!).join(" ") : ids;
    return { prompt, outputLength: vary(options.randomOutputLen) };
  });
}

function fromFile(count: number, { datasetPath, randomOutputLen }: DatasetOptions): Sample[] {
  const lines = readFileSync(datasetPath!, "utf8").split("\n").filter(Boolean);
  if (lines.length === 0) throw new CommandError(`${datasetPath} is empty`);
  return Array.from({ length: count }, (_, index) => {
    const number = index % lines.length;
    const fault = () =>
      new CommandError(`${datasetPath}, line ${number + 1}: need {"prompt": TEXT}`);
    const { prompt, output_tokens: outputLength = randomOutputLen } = parseLine(
      lines[number]!,
      fault,
    );
    if (typeof prompt !== "string" || typeof outputLength !== "number") throw fault();
    return { prompt, outputLength };
  });
}

function parseLine(
  line: string,
  fault: () => Error,
): { prompt?: unknown; output_tokens?: unknown } {
  try {
    return JSON.parse(line) as { prompt?: unknown };
  } catch {
    throw fault();
  }
}
