/** What a person may ask an adapter, from the examples of its card. */

export interface ExampleEntry {
  readonly messages: readonly { readonly role: string; readonly content: string }[];
}

const MOST = 3;
/** Longer ones would fill the page. */
const MOST_CHARACTERS = 160;

/** Examples that are one short message of a user, in the card's order. */
export function suggestions(examples: readonly ExampleEntry[]): string[] {
  const asked = examples.flatMap(({ messages }) => {
    const [first, second] = messages;
    return first?.role === "user" && second === undefined ? [first.content.trim()] : [];
  });
  const short = asked.filter((text) => text !== "" && text.length <= MOST_CHARACTERS);
  return short.slice(0, MOST);
}
