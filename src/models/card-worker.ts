import { parentPort } from "node:worker_threads";
import { readCard } from "./card.js";
import type { CardAnswer, CardOrder } from "./card-thread.js";

/** The thread that reads cards. Whatever is wrong with a file is the file's fault. */

const port = parentPort!;

port.on("message", ({ id, folder }: CardOrder) => {
  let answer: CardAnswer;
  try {
    answer = { id, card: readCard(folder) };
  } catch (error) {
    answer = { id, fault: (error as Error).message };
  }
  port.postMessage(answer);
});
