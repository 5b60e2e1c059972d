/** The packed program that the site hands out, as one file that never changes. */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { open } from "node:fs/promises";
import type { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { ExclaveError } from "../errors.ts";

/** No release is larger. */
const PROGRAM_BYTES_MAX = 512 * 1024 * 1024;
const READ_BYTES = 128 * 1024;

export type Program = {
  readonly sha256: string;
  readonly bytes: number;
  /** A stream of it from the beginning. */
  open(): Readable;
};

/** Reads the file once, to know its hash. Throws `usage` when it is not there or too large. */
export async function openProgram(path: string): Promise<Program> {
  const file = await open(path, "r").catch((cause: unknown) => {
    throw new ExclaveError("usage", `the program that the settings name, ${path}, is not there`, {
      cause,
    });
  });
  try {
    const { size } = await file.stat();
    if (size > PROGRAM_BYTES_MAX) throw new ExclaveError("usage", `${path} is too large`);
    const hash = createHash("sha256");
    await pipeline(file.createReadStream({ autoClose: false, highWaterMark: READ_BYTES }), hash);
    return {
      sha256: hash.digest("hex"),
      bytes: size,
      open: () => createReadStream(path, { end: size - 1, highWaterMark: READ_BYTES }),
    };
  } finally {
    await file.close();
  }
}
