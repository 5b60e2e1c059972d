/**
 * What a site has followed of a State, on its disk: the generations of the ledger, and the documents from which the
 * charter follows. A cache: it is read anew from the objects when it is lost.
 */
import { readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { readCharter } from "../charter/charter.ts";
import { toHex } from "../crypto/bytes.ts";
import { sha256 } from "../crypto/hash.ts";
import { encodeJson, parseStrictJson } from "../crypto/strict-json.ts";
import { invariant, isExclaveError } from "../errors.ts";
import { readState } from "../governance/read-state.ts";
import { GOVERNING_KINDS } from "../ledger/entry.ts";
import { gatherCheckpoints } from "../ledger/from-sites.ts";
import { Log } from "../ledger/log.ts";
import { formatVerifierKey, type VerifierKey } from "../ledger/note.ts";
import { writeDurably } from "../sites/durable.ts";
import type { Site } from "../sites/site.ts";
import { ledgerFile, prepareHome, readDocument as readKept, saveDocument } from "../vault/home.ts";
import {
  type Generation,
  type GoverningKind,
  type KnownState,
  ledgerKeysOf,
  witnessesOf,
} from "../vault/known-state.ts";
import { readDocument } from "../vault/site-documents.ts";
import { FollowedLedger, type LedgerNotice } from "./view-ledger.ts";
import { Statements } from "./view-statements.ts";

const VIEW = "view";
const NEXT = "view.next";
const GENERATIONS_MAX = 1000;

const cacheSchema = z.strictObject({
  kind: z.literal("view"),
  format: z.literal(1),
  generations: z
    .array(
      z.strictObject({
        /** Verifier keys of the ledger. */
        keys: z.array(z.string().max(4096)).length(2),
        /** Where the next one closed it. */
        closedAt: z.int().min(0).optional(),
      }),
    )
    .min(1)
    .max(GENERATIONS_MAX),
});

export type FollowSource = {
  readonly objects: Site;
  readonly onNotice: (notice: LedgerNotice) => void;
};

/** What was followed, open. */
export type Followed = {
  /** The first one first. */
  readonly generations: readonly Generation[];
  readonly open: Generation;
  readonly ledger: FollowedLedger;
  readonly statements: Statements;
  /** What the ledger names. Throws `altered` for what is lost. */
  readonly document: (kind: GoverningKind, id: string) => Uint8Array;
  readonly close: () => void;
};

/** Opens what was followed before; undefined when there is nothing. Throws for what is damaged. */
export async function openFollowed(
  folder: string,
  source: FollowSource,
): Promise<Followed | undefined> {
  const view = join(folder, VIEW);
  const bytes = await readFile(join(view, "view.json")).catch(() => undefined);
  if (!bytes) return undefined;
  const { generations } = cacheSchema.parse(parseStrictJson(bytes));
  const opened: Generation[] = [];
  try {
    for (const [i, { keys, closedAt }] of generations.entries()) {
      const log = Log.open(ledgerFile(view, i + 1), ledgerKeysOf({ keys }));
      opened.push({ log, ...(closedAt === undefined ? {} : { closedAt }) });
    }
    return followedIn(view, opened, source);
  } catch (error) {
    for (const { log } of opened) log.close();
    throw error;
  }
}

/** Forgets what was followed. */
export async function dropFollowed(folder: string): Promise<void> {
  await rm(join(folder, VIEW), { recursive: true, force: true });
}

export type ReadAnew = {
  readonly folder: string;
  readonly state: string;
  readonly source: FollowSource;
  /** What of the objects is to be read. */
  readonly from: Site;
  readonly onNotice: (message: string) => void;
  /** Throws when it is not to take the place of what was followed; else closes that. */
  readonly accept: (known: KnownState, generations: readonly Generation[]) => void;
};

/** Reads the State from its founding charter on, beside what was followed, and puts that in its place. */
export async function readAnew({
  folder,
  state,
  source,
  from,
  onNotice,
  accept,
}: ReadAnew): Promise<Followed> {
  const next = join(folder, NEXT);
  await rm(next, { recursive: true, force: true });
  await prepareHome(next);
  const places = [{ name: from.identity.name, site: from }];
  const { known, generations } = await readState(next, state, places, onNotice);
  try {
    const witnesses = known.history.history.map(({ charter }) => witnessesOf(charter));
    for (const { log } of generations) {
      const kinds = [...GOVERNING_KINDS, "statement"] as const;
      await gatherCheckpoints(log, [from], witnesses, "branch", kinds);
    }
    const cache = cacheSchema.parse({
      kind: "view",
      format: 1,
      generations: generations.map(({ log, closedAt }) => ({
        keys: log.keys.map(formatVerifierKey),
        ...(closedAt === undefined ? {} : { closedAt }),
      })),
    });
    await writeDurably(join(next, "view.json"), join(next, "tmp", "view.json"), [
      encodeJson(cache),
    ]);
    accept(known, generations);
  } finally {
    for (const { log } of generations) log.close();
  }
  // Killed between the two: nothing was followed, and all of it is read again.
  await dropFollowed(folder);
  await rename(next, join(folder, VIEW));
  const opened = await openFollowed(folder, source);
  invariant(opened, "what was written just now is there");
  return opened;
}

function followedIn(
  view: string,
  generations: readonly Generation[],
  { objects, onNotice }: FollowSource,
): Followed {
  const open = generations.at(-1);
  invariant(open, "a State has a ledger");
  const document = (kind: GoverningKind, id: string): Uint8Array => readKept(view, kind, id);
  const charters = new Charters();
  for (const { log } of generations) {
    for (const { envelope } of log.entriesOf(["charter"])) {
      charters.add(document("charter", envelope));
    }
  }
  const keep = async (kind: GoverningKind, id: string): Promise<boolean> => {
    const bytes = kept(view, kind, id) ?? (await readDocument(objects, `${kind}/${id}`));
    if (!bytes || toHex(sha256(bytes)) !== id) return false;
    await saveDocument(view, kind, id, bytes);
    if (kind === "charter") charters.add(bytes);
    return true;
  };
  const statements = new Statements(join(view, "statements.sqlite"));
  const cosigners = (): readonly VerifierKey[] => charters.cosigners;
  const ledger = new FollowedLedger(open.log, { objects, keep, cosigners, onNotice });
  const close = (): void => {
    statements.close();
    for (const { log } of generations) log.close();
  };
  return { generations, open, ledger, statements, document, close };
}

function kept(view: string, kind: GoverningKind, id: string): Uint8Array | undefined {
  try {
    return readKept(view, kind, id);
  } catch (error) {
    if (isExclaveError(error, "altered")) return undefined;
    throw error;
  }
}

/** The witnesses of every charter that the ledger names, in force or not: whose cosignatures may tell a time. */
class Charters {
  readonly #keys = new Map<string, VerifierKey>();

  add(payload: Uint8Array): void {
    try {
      const { witnesses } = witnessesOf(readCharter(payload).charter);
      for (const key of witnesses.flatMap(({ keys }) => keys)) {
        this.#keys.set(formatVerifierKey(key), key);
      }
    } catch (error) {
      // What is no charter counts for nothing, when the ledger is replayed.
      if (!isExclaveError(error) || error.code === "bug") throw error;
    }
  }

  get cosigners(): readonly VerifierKey[] {
    return [...this.#keys.values()];
  }
}
