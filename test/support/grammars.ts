import type { TestContext } from "node:test";
import type { ApiContext } from "../../src/api/context.js";
import {
  FAKE_EOS,
  type FakeGenerator,
  type FakeOptions,
  fakeContext,
} from "../../src/engine/fake.js";
import { GrammarService } from "../../src/grammar/service.js";
import { sharedVocabulary } from "../../src/grammar/vocabulary.js";
import { serve } from "../harness.js";

/** Grammars over the fake model's vocabulary; to be closed. */
export function fakeGrammars({ tokenizer, vocab }: ApiContext): GrammarService {
  return new GrammarService(() => sharedVocabulary(tokenizer!, vocab, new Set([FAKE_EOS])));
}

/** The fake model with real grammars: it says what it wants where the grammar lets it. */
export function serveWithGrammars(context: TestContext, options: FakeOptions) {
  const withGrammars = (generator: FakeGenerator): ApiContext => {
    const plain = fakeContext(generator, { maxModelLen: 4096 });
    const grammars = fakeGrammars(plain);
    context.after(() => grammars.close());
    return { ...plain, grammars };
  };
  return serve(context, { ...options, context: withGrammars });
}
