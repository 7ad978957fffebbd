/** Goes into the server beside its own code (node --expose-gc --import): garbage is no memory that is kept, and is swept before it is counted. */

const SWEEP_MS = 2_000;

const sweep = globalThis.gc;
if (sweep === undefined) throw new Error("the server of a soak needs --expose-gc");
setInterval(() => sweep(), SWEEP_MS).unref();
