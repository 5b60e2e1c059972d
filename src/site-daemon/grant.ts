/** Which States a site serves, and within what bounds: one file a State, put there by the site's operator. */
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { charterFields } from "../charter/charter.ts";
import { fromBase64 } from "../crypto/bytes.ts";
import { type PublicSigningKey, parseSigningPublicKey } from "../crypto/signing.ts";
import { ExclaveError, isExclaveError } from "../errors.ts";
import { makeDirectoryDurably } from "../sites/durable.ts";
import { jsonText, parseEdited, readBounded, writeFileIn } from "./folder.ts";
import { noticeInGrant } from "./settings.ts";

const GRANTS_FOLDER = "grants";
/** States that one site serves. */
export const GRANTS_MAX = 256;
/** Names in the folder that are looked at. */
const FILES_MAX = 4 * GRANTS_MAX;
const FILE = /^([0-9a-f]{64})\.json$/;
const VIEW_SECONDS_MAX_DEFAULT = 48 * 3600;
const SILENT_SECONDS_MAX_DEFAULT = 26 * 3600;

const grantSchema = z.strictObject({
  kind: z.literal("grant"),
  format: z.literal(1),
  /** Id of the State: SHA-256 of its founding charter. */
  state: charterFields.hex(32),
  name: charterFields.label,
  /** Public signing key, base64: from whom governing documents are taken before the ledger was followed. */
  contact: z.string().max(8192).refine(isSigningKey, "no public signing key"),
  /** What the State may store here, in bytes. */
  quotaBytes: z.int().min(0),
  /** A view of the ledger that is older sets aside what comes in. */
  viewSecondsMax: z.int().min(60).default(VIEW_SECONDS_MAX_DEFAULT),
  /** A home that is silent for longer raises the alarm. */
  silentSecondsMax: z.int().min(60).default(SILENT_SECONDS_MAX_DEFAULT),
  /** Requests of this State, on average; the site's own limit when absent. */
  requestsPerSecondMax: z.int().min(1).max(1_000_000).optional(),
  notice: noticeInGrant.optional(),
});
export type Grant = Readonly<z.infer<typeof grantSchema>>;

/** What is granted, and what has a default. */
export type NewGrant = Pick<Grant, "state" | "name" | "contact" | "quotaBytes">;

/** A grant with what is usual. Throws `usage` for what cannot be granted. */
export function newGrant(granted: NewGrant): Grant {
  const grant = { kind: "grant", format: 1, ...granted };
  return parseEdited("the grant", jsonText(grant), grantSchema);
}

/** The key from which documents are taken before the State's ledger was followed. */
export function contactOf(grant: Grant): PublicSigningKey {
  return parseSigningPublicKey(fromBase64(grant.contact));
}

/** Keeps a grant, in the place of an older one for the same State. Throws `usage` when there are too many. */
export async function writeGrant(folder: string, grant: Grant): Promise<void> {
  await makeDirectoryDurably(join(folder, GRANTS_FOLDER));
  const { grants } = await readGrants(folder);
  if (!grants.has(grant.state) && grants.size >= GRANTS_MAX) {
    throw new ExclaveError(
      "usage",
      `this site serves ${GRANTS_MAX} States, and no more. Nothing was changed; make another site`,
    );
  }
  await writeFileIn(grantFile(folder, grant.state), jsonText(grant));
}

export type Grants = {
  /** By State id. */
  readonly grants: ReadonlyMap<string, Grant>;
  /** What is in the folder and grants nothing, one sentence each. */
  readonly problems: readonly string[];
};

/**
 * Every grant in the folder. A file that is damaged is a problem of the State that it is for, and of no other: it is
 * named, and the rest is served.
 */
export async function readGrants(folder: string): Promise<Grants> {
  const files = await namesIn(join(folder, GRANTS_FOLDER));
  const grants = new Map<string, Grant>();
  const problems: string[] = [];
  for (const file of files.slice(0, FILES_MAX)) {
    // Leftovers of a write that was cut short.
    if (file.startsWith(".")) continue;
    const path = join(folder, GRANTS_FOLDER, file);
    const [, state] = FILE.exec(file) ?? [];
    if (state === undefined) {
      problems.push(`${path} is no grant: its name is not a State's id and ".json"`);
      continue;
    }
    if (grants.size >= GRANTS_MAX) {
      problems.push(`${path} is left out: this site serves ${GRANTS_MAX} States`);
      continue;
    }
    try {
      const bytes = await readBounded(path);
      if (!bytes) continue;
      const grant = parseEdited(path, bytes, grantSchema);
      if (grant.state === state) grants.set(state, grant);
      else problems.push(`${path} is for another State than its name says`);
    } catch (error) {
      if (isExclaveError(error, "bug")) throw error;
      problems.push(error instanceof Error ? error.message : String(error));
    }
  }
  if (files.length > FILES_MAX) problems.push(`there are more than ${FILES_MAX} files of grants`);
  return { grants, problems };
}

async function namesIn(folder: string): Promise<readonly string[]> {
  try {
    return (await readdir(folder)).toSorted();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
}

function grantFile(folder: string, state: string): string {
  return join(folder, GRANTS_FOLDER, `${state}.json`);
}

function isSigningKey(text: string): boolean {
  try {
    parseSigningPublicKey(fromBase64(text));
    return true;
  } catch (error) {
    if (isExclaveError(error)) return false;
    throw error;
  }
}
