/** Key files on disk: written once, never over another. */
import { open } from "node:fs/promises";
import { dirname } from "node:path";
import { ExclaveError } from "../errors.ts";
import { syncDirectory } from "../sites/durable.ts";

/** Writes a key file durably, readable by its owner alone. Throws `usage` when the file exists or cannot be made. */
export async function writeKeyFile(path: string, bytes: Uint8Array): Promise<void> {
  try {
    const file = await open(path, "wx", 0o600);
    try {
      await file.writeFile(bytes);
      await file.sync();
    } finally {
      await file.close();
    }
    await syncDirectory(dirname(path));
  } catch (cause) {
    const exists = (cause as NodeJS.ErrnoException).code === "EEXIST";
    const why = exists ? "it exists already and is left as it is" : String(cause);
    throw new ExclaveError("usage", `the key file ${path} cannot be written: ${why}`, { cause });
  }
}
