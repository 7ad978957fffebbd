/** The data of server-sent events, from text that comes in pieces cut anywhere. Comments are passed over. */
export class EventReader {
  #rest = "";

  /** The data of the events that `text` completes. */
  push(text: string): string[] {
    const events = (this.#rest + text).split(/\r?\n\r?\n/);
    this.#rest = events.pop() ?? "";
    return events.flatMap((event) => {
      const lines = event.split(/\r?\n/).filter((line) => line.startsWith("data:"));
      return lines.length === 0
        ? []
        : [lines.map((line) => line.replace(/^data: ?/, "")).join("\n")];
    });
  }
}
