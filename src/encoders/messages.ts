import type { ErrorCode } from "../errors.js";
import type { EncoderFiles } from "./files.js";

/** What the server and the encoder's thread tell each other. */

export type EncoderInput = string | readonly number[];

export interface EncoderSettings {
  readonly files: EncoderFiles;
  readonly threads: number;
}

export interface EncodeOrder {
  readonly kind: "encode";
  readonly id: number;
  readonly inputs: readonly EncoderInput[];
  /** Inputs that are too long are cut, not refused. */
  readonly cut: boolean;
}

/** Nobody waits for an order any more. */
export interface Forget {
  readonly kind: "forget";
  readonly id: number;
}

export type EncoderAnswer =
  | { readonly kind: "ready"; readonly width: number; readonly vocab: number }
  | {
      readonly kind: "encoded";
      readonly id: number;
      readonly vectors: Float32Array; // one after another
      readonly tokens: number;
    }
  | {
      readonly kind: "failed";
      readonly id: number;
      readonly code: ErrorCode;
      readonly message: string;
    };
