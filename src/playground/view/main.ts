import { Playground } from "./playground.js";

await new Playground().run();
