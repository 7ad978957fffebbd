// npm run build [-- --strict]: the set-up alone; strict takes warnings for errors, as the tests do.

import { afterSetUp } from "./setup.mjs";

await afterSetUp(() => {}, { strict: process.argv.includes("--strict") });
