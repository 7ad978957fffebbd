// npm start [-- OPTIONS]: whatever a fresh clone still lacks, then `smore serve OPTIONS`.

import { runModule } from "./run.mjs";

await runModule("dist/src/main.js", ["serve", ...process.argv.slice(2)]);
