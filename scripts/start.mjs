// npm start [-- OPTIONS]: whatever a fresh clone still lacks, then `smore serve OPTIONS`.

import { runModule } from "./run.mjs";

const options = process.argv.slice(2);
const names = (/** @type {string} */ flag) =>
  options.some((option) => option === flag || option.startsWith(`${flag}=`));
const defaultModel =
  !names("--model") && !names("--help") && !names("-h") && !process.env.SMORE_MODEL;
await runModule("dist/src/main.js", ["serve", ...options], { defaultModel });
