/** Files in a site's folder: durable, private, and bounded when they are read. */
import { randomBytes } from "node:crypto";
import { chown, open, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { z } from "zod";
import { fromHex, toHex } from "../crypto/bytes.ts";
import { parseStrictJson } from "../crypto/strict-json.ts";
import { ExclaveError, isExclaveError } from "../errors.ts";
import { writeDurably, writeOnceDurably } from "../sites/durable.ts";

/** No file that a site keeps about itself is longer. */
const FILE_BYTES_MAX = 256 * 1024;
const OTHERS_MAY = 0o077;
export const SECRET_BYTES = 32;

/** The whole of a file, or undefined when there is none. Throws `malformed` when it is too large. */
export async function readBounded(path: string): Promise<Uint8Array | undefined> {
  return (await readWithMode(path))?.bytes;
}

async function readWithMode(
  path: string,
): Promise<{ readonly bytes: Uint8Array; readonly mode: number } | undefined> {
  const file = await open(path, "r").catch((error: unknown) => {
    const { code = "" } = error as NodeJS.ErrnoException;
    if (["ENOENT", "ENOTDIR"].includes(code)) return undefined;
    if (!["EACCES", "EPERM"].includes(code)) throw error;
    throw new ExclaveError(
      "usage",
      `this user may not read ${path}. Run it as root, or as the user that the site runs as`,
      { cause: error },
    );
  });
  if (!file) return undefined;
  try {
    const { size, mode } = await file.stat();
    if (size > FILE_BYTES_MAX) throw new ExclaveError("malformed", `${path} is too large`);
    return { bytes: await file.readFile(), mode };
  } finally {
    await file.close();
  }
}

/** Writes a file, readable by its owner alone; whoever reads it sees the old one or the new one whole. */
export async function writeFileIn(path: string, bytes: Uint8Array): Promise<void> {
  await writeDurably(path, temporaryBeside(path), [bytes]);
  await giveToSite(path);
}

/** The same where nothing is yet; false when something is, and it is left as it is. */
export async function writeNewFileIn(path: string, bytes: Uint8Array): Promise<boolean> {
  const isNew = await writeOnceDurably(path, temporaryBeside(path), [bytes]);
  if (isNew) await giveToSite(path);
  return isNew;
}

/** What root writes belongs to whom the folder belongs: the site runs as a user of its own, and is to read it. */
async function giveToSite(path: string): Promise<void> {
  if (process.getuid?.() !== 0) return;
  const { uid, gid } = await stat(dirname(path));
  if (uid !== 0) await chown(path, uid, gid);
}

function temporaryBeside(path: string): string {
  return join(dirname(path), `.${randomBytes(8).toString("hex")}.tmp`);
}

/** JSON as a person edits it. */
export function jsonText(value: unknown): Uint8Array {
  return Buffer.from(`${JSON.stringify(value, undefined, 2)}\n`);
}

/**
 * JSON of a file that people edit, held to a schema. Throws `usage` that names the file, the member and what is wrong
 * with it.
 */
export function parseEdited<T>(path: string, bytes: Uint8Array, schema: z.ZodType<T>): T {
  const parsed = schema.safeParse(readJson(path, bytes));
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const where = issue?.path.join(".") || "it";
  throw new ExclaveError(
    "usage",
    `${path} cannot be used: ${where}: ${issue?.message ?? "unknown form"}. Nothing was changed`,
    { cause: parsed.error },
  );
}

function readJson(path: string, bytes: Uint8Array): unknown {
  try {
    return parseStrictJson(bytes, { bytesMax: FILE_BYTES_MAX });
  } catch (cause) {
    if (!isExclaveError(cause)) throw cause;
    throw new ExclaveError("usage", `${path} cannot be used: ${cause.message}`, { cause });
  }
}

const secretSchema = z.strictObject({ secret: z.string().regex(/^[0-9a-f]{64}$/) });

/** Keeps a secret of 32 bytes; one that is there already is never replaced. */
export async function writeSecretOnce(path: string, secret: Uint8Array): Promise<void> {
  await writeNewFileIn(path, Buffer.from(`${JSON.stringify({ secret: toHex(secret) })}\n`));
}

/**
 * A secret of 32 bytes. Throws `bad-key` when it is not there, is damaged, or others than its owner may read it: what
 * others have read is theirs too.
 */
export async function readSecret(path: string): Promise<Uint8Array> {
  const file = await readWithMode(path);
  if (!file) throw new ExclaveError("bad-key", `the key file ${path} is not there`);
  requirePrivate(path, file.mode);
  const parsed = secretSchema.safeParse(secretJson(path, file.bytes));
  if (!parsed.success) throw damaged(path);
  return fromHex(parsed.data.secret, SECRET_BYTES);
}

/** The text of a file that only its owner may read, or undefined when there is none. Throws `bad-key` otherwise. */
export async function readPrivateText(path: string): Promise<string | undefined> {
  const file = await readWithMode(path);
  if (!file) return undefined;
  requirePrivate(path, file.mode);
  return Buffer.from(file.bytes).toString("utf8");
}

function requirePrivate(path: string, mode: number): void {
  if (process.platform === "win32" || (mode & OTHERS_MAY) === 0) return;
  throw new ExclaveError(
    "bad-key",
    `others than its owner may read the key file ${path}. Change it with: chmod 600 ${path}; if anyone could have read it, make the site anew and have the State admit the new key`,
  );
}

function secretJson(path: string, bytes: Uint8Array): unknown {
  try {
    return parseStrictJson(bytes, { depthMax: 1 });
  } catch {
    // Without the cause: what is in it is a secret.
    throw damaged(path);
  }
}

function damaged(path: string): ExclaveError {
  return new ExclaveError("bad-key", `the key file ${path} is damaged`);
}
