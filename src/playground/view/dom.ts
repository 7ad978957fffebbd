/** Elements, made and found. */

type Child = Node | string;
type Attributes = Readonly<Record<string, string | number>>;

/** An element that the page's HTML has. */
export function byId<T extends HTMLElement>(id: string, kind: new () => T): T {
  const found = document.getElementById(id);
  if (found instanceof kind) return found;
  throw new Error(`the page has no ${kind.name} #${id}`);
}

export function element<Tag extends keyof HTMLElementTagNameMap>(
  tag: Tag,
  attributes: Attributes = {},
  ...children: Child[]
): HTMLElementTagNameMap[Tag] {
  return fill(document.createElement(tag), attributes, children);
}

export function shape<Tag extends keyof SVGElementTagNameMap>(
  tag: Tag,
  attributes: Attributes = {},
  ...children: Child[]
): SVGElementTagNameMap[Tag] {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function fill<E extends Element>(made: E, attributes: Attributes, children: readonly Child[]): E {
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, String(value));
  made.append(...children);
  return made;
}

/** Runs `draw` once before the next frame, however often it is called until then. */
export function perFrame(draw: () => void): () => void {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      draw();
    });
  };
}

/** Makes the options of a select; keeps what was chosen where that is still there. */
export function setOptions(
  select: HTMLSelectElement,
  values: readonly string[],
  wanted = select.value,
) {
  const same =
    select.options.length === values.length &&
    values.every((value, i) => select.options[i]?.value === value);
  if (!same) {
    select.replaceChildren(...values.map((value) => element("option", { value }, value)));
  }
  select.value = values.includes(wanted) ? wanted : (values[0] ?? "");
}
