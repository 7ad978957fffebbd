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

/** The fake model with real grammars: it says what it wants where the grammar lets it. */
export function serveWithGrammars(context: TestContext, options: FakeOptions) {
  const withGrammars = (generator: FakeGenerator): ApiContext => {
    const plain = fakeContext(generator, { maxModelLen: 4096 });
    const stops = new Set([FAKE_EOS]);
    const grammars = new GrammarService(() =>
      sharedVocabulary(plain.tokenizer!, plain.vocab, stops),
    );
    context.after(() => grammars.close());
    return { ...plain, grammars };
  };
  return serve(context, { ...options, context: withGrammars });
}
