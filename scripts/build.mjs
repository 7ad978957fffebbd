// npm run build

import { afterSetUp } from "./setup.mjs";

await afterSetUp(() => {});
