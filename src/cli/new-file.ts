/** Files that a command makes for people: never over another. */
import { writeFile } from "node:fs/promises";
import { resolve } from "node:path";
import { ExclaveError } from "../errors.ts";

/** Writes a file where nothing is yet, and gives its path. Throws `usage` when it is there. */
export async function writeNewFile(file: string, bytes: Uint8Array): Promise<string> {
  const path = resolve(file);
  try {
    await writeFile(path, bytes, { flag: "wx" });
  } catch (cause) {
    const exists = (cause as NodeJS.ErrnoException).code === "EEXIST";
    const why = exists ? "it is there already, and is left as it is" : String(cause);
    throw new ExclaveError("usage", `${path} cannot be written: ${why}`, { cause });
  }
  return path;
}
