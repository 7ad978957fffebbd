import { closeSync, fstatSync, readSync } from "node:fs";
import { ModelError } from "../models/model-error.js";
import { openRegularFile } from "../models/regular-file.js";

/**
 * The key-value header of a GGUF file, as far as text handling needs it. Reads through a window of
 * fixed size, checks every count against the bytes that are left, and builds no list and no text that is longer
 * than any tokenizer's: a header costs what it says of text, however long its file is. Tensors are the engine's business (addon/io/gguf).
 */
export type GgufValue = number | boolean | string | readonly (number | boolean | string)[];
export type GgufMetadata = ReadonlyMap<string, GgufValue>;

const MAGIC = 0x46554747; // "GGUF"
const WINDOW = 1 << 20;
const MAX_KEYS = 1 << 16;
const MAX_KEY_BYTES = 1 << 16;
/** Of a list that is built: the largest vocabularies have a sixteenth of it. */
const MAX_ITEMS = 1 << 22;
/** Of a text that is built, and of all texts of a list together. */
const MAX_TEXT_BYTES = 16 << 20;
const MAX_LIST_BYTES = 256 << 20;

/** Bytes of the fixed-size types, by their number in the file; 8 is string, 9 is array. */
const TYPE_BYTES = [1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8] as const;
const BOOL = 7;
const STRING = 8;
const ARRAY = 9;

/** Values of the keys that `wanted` accepts; the others are passed over without being built. */
export function readGgufMetadata(path: string, wanted: (key: string) => boolean): GgufMetadata {
  const fd = openRegularFile(path);
  try {
    return readHeader(new HeaderReader(fd, path), wanted);
  } finally {
    closeSync(fd);
  }
}

function readHeader(reader: HeaderReader, wanted: (key: string) => boolean): GgufMetadata {
  if (reader.u32() !== MAGIC) throw reader.corrupt("it does not begin with GGUF");
  const version = reader.u32();
  if (version !== 2 && version !== 3) throw reader.corrupt(`version ${version} is not 2 or 3`);
  reader.count(0, "tensor count"); // no tensor is read, so any count will do
  const keys = reader.count(12, "key count");
  if (keys > MAX_KEYS) throw reader.corrupt(`${keys} keys are more than ${MAX_KEYS}`);
  const values = new Map<string, GgufValue>();
  for (let i = 0; i < keys; i++) {
    const key = reader.string("a key", MAX_KEY_BYTES);
    const type = reader.u32();
    if (wanted(key)) values.set(key, readValue(reader, key, type));
    else skipValue(reader, key, type);
  }
  return values;
}

function readValue(reader: HeaderReader, key: string, type: number): GgufValue {
  if (type !== ARRAY) return readScalar(reader, key, type);
  const { element, count } = arrayHead(reader, key);
  if (count > MAX_ITEMS) {
    throw reader.corrupt(`key ${key} has ${count} items, more than ${MAX_ITEMS}`);
  }
  const items: (number | boolean | string)[] = [];
  const most = reader.position + MAX_LIST_BYTES;
  for (let i = 0; i < count; i++) {
    items.push(readScalar(reader, key, element));
    if (reader.position > most) {
      throw reader.corrupt(`key ${key} has more than ${MAX_LIST_BYTES} bytes`);
    }
  }
  return items;
}

function readScalar(reader: HeaderReader, key: string, type: number): number | boolean | string {
  if (type === STRING) return reader.string(`key ${key}: a text`, MAX_TEXT_BYTES);
  const bytes = typeBytes(reader, key, type);
  const view = reader.take(bytes);
  const value = SCALARS[type]?.(view);
  if (value === undefined) throw reader.corrupt(`key ${key} has the unknown type ${type}`);
  return type === BOOL ? value !== 0 : value;
}

const SCALARS: Record<number, (view: DataView) => number> = {
  0: (view) => view.getUint8(0),
  1: (view) => view.getInt8(0),
  2: (view) => view.getUint16(0, true),
  3: (view) => view.getInt16(0, true),
  4: (view) => view.getUint32(0, true),
  5: (view) => view.getInt32(0, true),
  6: (view) => view.getFloat32(0, true),
  7: (view) => view.getUint8(0),
  10: (view) => Number(view.getBigUint64(0, true)),
  11: (view) => Number(view.getBigInt64(0, true)),
  12: (view) => view.getFloat64(0, true),
};

function skipValue(reader: HeaderReader, key: string, type: number): void {
  const { element, count } = type === ARRAY ? arrayHead(reader, key) : { element: type, count: 1 };
  if (element !== STRING) {
    reader.skip(count * typeBytes(reader, key, element));
    return;
  }
  for (let i = 0; i < count; i++) reader.skip(reader.count(1, key));
}

function arrayHead(reader: HeaderReader, key: string): { element: number; count: number } {
  const element = reader.u32();
  const bytes = element === STRING ? 8 : typeBytes(reader, key, element);
  return { element, count: reader.count(bytes, key) };
}

function typeBytes(reader: HeaderReader, key: string, type: number): number {
  const bytes = TYPE_BYTES[type];
  if (!bytes) throw reader.corrupt(`key ${key} has the unknown type ${type}`);
  return bytes;
}

/** Little-endian values in file order, through one window. */
class HeaderReader {
  private readonly fd: number;
  private readonly path: string;
  private readonly fileBytes: number;
  private window = Buffer.alloc(0);
  private start = 0; // of the window in the file
  private at = 0; // next byte in the file

  constructor(fd: number, path: string) {
    this.fd = fd;
    this.path = path;
    this.fileBytes = fstatSync(fd).size;
  }

  /** Of the next byte in the file. */
  get position(): number {
    return this.at;
  }

  u32(): number {
    return this.take(4).getUint32(0, true);
  }

  /** A 64-bit count of items that take at least `itemBytes` each, so no more than the file can hold. */
  count(itemBytes: number, what: string): number {
    const value = Number(this.take(8).getBigUint64(0, true));
    if (value * itemBytes > this.fileBytes - this.at) {
      throw this.corrupt(`${what} says ${value}, more than the file holds`);
    }
    return value;
  }

  string(what: string, maxBytes: number): string {
    const bytes = this.count(1, "the length of a string");
    if (bytes > maxBytes) {
      throw this.corrupt(`${what} of ${bytes} bytes is longer than ${maxBytes}`);
    }
    const view = this.take(bytes);
    return Buffer.from(view.buffer, view.byteOffset, bytes).toString("utf8");
  }

  skip(bytes: number): void {
    this.at += bytes;
  }

  /** The next bytes; valid until the next call. */
  take(bytes: number): DataView {
    if (this.at < this.start || this.at + bytes > this.start + this.window.length) this.fill(bytes);
    const view = new DataView(
      this.window.buffer,
      this.window.byteOffset + this.at - this.start,
      bytes,
    );
    this.at += bytes;
    return view;
  }

  corrupt(detail: string): ModelError {
    return new ModelError(`${this.path}: not a GGUF file that can be read: ${detail}`);
  }

  private fill(bytes: number): void {
    if (this.at + bytes > this.fileBytes) throw this.corrupt("it ends inside its header");
    const wanted = Math.min(Math.max(bytes, WINDOW), this.fileBytes - this.at);
    const window = Buffer.allocUnsafeSlow(wanted);
    let filled = 0;
    while (filled < wanted) {
      const read = readSync(this.fd, window, filled, wanted - filled, this.at + filled);
      if (read === 0) throw this.corrupt("it ends inside its header");
      filled += read;
    }
    this.window = window;
    this.start = this.at;
  }
}
