/**
 * What witnesses say against home's ledger and do not show. A site can say it out of spite, so that home goes on; and
 * it can be true, so that people hear of it until the witness cosigns again. Kept in home's `witness-doubts.json`.
 */
import { randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { parseStrictJson } from "../crypto/strict-json.ts";
import { isExclaveError } from "../errors.ts";
import { writeDurably } from "../sites/durable.ts";
import type { Home } from "../vault/home.ts";

const FILE = "witness-doubts.json";

const doubtsSchema = z.strictObject({
  format: z.literal(1),
  /** Of the ledger that is spoken of. */
  origin: z.string(),
  doubts: z.array(z.strictObject({ witness: z.string(), says: z.string() })),
});

/** What is doubted of the open ledger, in a sentence each, by the name of the witness that the charter names. */
export async function readDoubts(home: Home): Promise<ReadonlyMap<string, string>> {
  const { origin, witnesses } = home.charter.ledger;
  const kept = await readKept(home);
  const named = (kept?.origin === origin ? kept.doubts : []).filter(({ witness }) =>
    witnesses.some(({ name }) => name === witness),
  );
  return new Map(named.map(({ witness, says }) => [witness, says]));
}

/** Keeps these and no others. */
export async function keepDoubts(home: Home, doubts: ReadonlyMap<string, string>): Promise<void> {
  const kept = {
    format: 1,
    origin: home.charter.ledger.origin,
    doubts: [...doubts].map(([witness, says]) => ({ witness, says })),
  } satisfies z.infer<typeof doubtsSchema>;
  const temporary = join(home.path, "tmp", `${randomBytes(8).toString("hex")}-${FILE}`);
  await writeDurably(join(home.path, FILE), temporary, [
    Buffer.from(`${JSON.stringify(kept, undefined, 2)}\n`),
  ]);
}

/** A file that is damaged says nothing: what is still doubted is said again when the witness is asked. */
async function readKept(home: Home): Promise<z.infer<typeof doubtsSchema> | undefined> {
  try {
    return doubtsSchema.safeParse(parseStrictJson(await readFile(join(home.path, FILE)))).data;
  } catch (error) {
    const isAbsent = (error as NodeJS.ErrnoException).code === "ENOENT";
    if (isAbsent || isExclaveError(error, "malformed")) return undefined;
    throw error;
  }
}
