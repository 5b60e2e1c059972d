/** Kits on the command line: read, opened one after another, each by its holder, and brought together. */
import { readFile } from "node:fs/promises";
import { stderr } from "node:process";
import { fromUtf8 } from "../crypto/bytes.ts";
import { compareKits, examineKit } from "../custody/combine-kits.ts";
import { type Kit, openShare } from "../custody/kit.ts";
import { joinKit } from "../custody/kit-parts.ts";
import {
  type OpenedShare,
  openSealed,
  type SealedShare,
  sealedFromBytes,
} from "../custody/sealed-share.ts";
import { combineShares, type ShareSetPublic } from "../custody/share-set.ts";
import { decodeShareText } from "../custody/share-text.ts";
import { ExclaveError, isExclaveError } from "../errors.ts";
import { askHidden } from "./passphrase.ts";
import type { Terminal } from "./terminal.ts";

/** A kit, its codes as scanned, or its share as typed. */
const GIVEN_BYTES_MAX = 256 * 1024;
/** What makes a kit useless, and says nothing of the others. */
const BAD = ["malformed", "altered", "bad-key"] as const;
/** A holder's tries, before the next one's turn. */
const TRIES_MAX = 3;

/** Kits that were opened, and what they say. */
type OpenedKits = {
  readonly state: string;
  readonly opened: readonly OpenedShare[];
  readonly checkpoints: readonly { readonly size: number; readonly root: string }[];
  /** The secret, when they fit the share set of the charter. Throws as `combineKits` does. */
  readonly secretFor: (set: ShareSetPublic) => Uint8Array;
};

/** What a holder brought: the kit's file, or the sealed share alone, typed from paper. */
type Brought =
  | { readonly from: string; readonly kit: Kit }
  | { readonly from: string; readonly sealed: SealedShare };

/**
 * Reads kits, and has each opened by its holder. What they say is held against the charter later: until then
 * they need agree on the State alone, so that a page with an altered list of sites stops no recovery.
 *
 * @param passphrases a file of them, for rehearsals
 */
export async function openKits(
  terminal: Terminal,
  files: readonly string[],
  passphrases: string | undefined,
): Promise<OpenedKits> {
  const brought: Brought[] = [];
  for (const file of files) {
    const one = await leftOutWhenBad(terminal, file, () => readBrought(file));
    if (one) brought.push(one);
  }
  const kits = brought.flatMap((one) => ("kit" in one ? [one] : []));
  const state = mostOf(kits.map(({ kit }) => kit.state));
  const model = kits.find(({ kit }) => kit.state === state)?.kit;
  if (model && !terminal.json) {
    stderr.write(
      `Kits of ${model.stateName}, fingerprint ${model.fingerprint}. Compare it with the one that was read aloud at the founding.\n`,
    );
  }
  noteDifferences(terminal, kits);
  if (model && brought.length < model.set.k) {
    terminal.notice(
      `these are ${brought.length} kits, and ${model.set.k} are needed, as they say: bring more key holders before anybody types`,
    );
  }
  const known = passphrases === undefined ? undefined : await readPassphrases(passphrases);
  const opened: OpenedShare[] = [];
  for (const one of brought) {
    const result = await leftOutWhenBad(terminal, one.from, () => openOne(terminal, one, known));
    if (result) opened.push(result);
  }
  const agreed = state ?? mostOf(opened.map(({ share }) => share.state));
  if (agreed === undefined) {
    throw new ExclaveError("usage", "no kit was opened. Nothing was changed");
  }
  const shares = opened.map(({ share }) => share);
  return {
    state: agreed,
    opened,
    checkpoints: kits.flatMap(({ kit }) => (kit.checkpoint ? [kit.checkpoint] : [])),
    secretFor: (set) => {
      const { secret, refused } = combineShares(shares, set, agreed);
      for (const { index, reason } of refused) {
        terminal.notice(`the share of key holder ${index + 1} was not used: it is ${reason}`);
      }
      return secret;
    },
  };
}

/** One damaged kit stops nobody: it is named and left out, and the others may be enough. */
async function leftOutWhenBad<T>(
  terminal: Terminal,
  file: string,
  work: () => Promise<T>,
): Promise<T | undefined> {
  try {
    return await work();
  } catch (error) {
    if (!BAD.some((code) => isExclaveError(error, code))) throw error;
    terminal.notice(`${file} is left out: ${error instanceof Error ? error.message : ""}`);
    return undefined;
  }
}

/** The text that most of them are; undefined when there is none. */
function mostOf(texts: readonly string[]): string | undefined {
  const counts = Map.groupBy(texts, (text) => text);
  const [most] = [...counts].toSorted(([, a], [, b]) => b.length - a.length);
  return most?.[0];
}

/** Kits of one ceremony differ in nothing but their holder: one that does otherwise is worth a word. */
function noteDifferences(terminal: Terminal, kits: readonly { from: string; kit: Kit }[]): void {
  if (kits.length === 0) return;
  try {
    const { refused } = compareKits(kits.map(({ kit }) => kit));
    for (const { position, reason } of refused) {
      terminal.notice(
        `the kit ${kits[position]?.from} says other things than the others: it is ${reason}. Its share is tried all the same, and held against the charter`,
      );
    }
  } catch (error) {
    if (!isExclaveError(error, "altered")) throw error;
    terminal.notice(`${error.message} They are tried all the same, and held against the charter`);
  }
}

/** The kit in a file: as it was written, or its scanned codes, one a line. */
export async function readKit(file: string): Promise<Kit> {
  const brought = await readBrought(file);
  if ("kit" in brought) return brought.kit;
  throw new ExclaveError(
    "usage",
    `${file} has the sealed share alone, as it is typed from paper; this needs the kit's file, or its codes`,
  );
}

async function readBrought(file: string): Promise<Brought> {
  const bytes = await readFile(file).catch((cause: unknown) => {
    throw new ExclaveError("usage", `the kit ${file} cannot be read`, { cause });
  });
  if (bytes.byteLength > GIVEN_BYTES_MAX) {
    throw new ExclaveError("malformed", `${file} is too large to be a kit`);
  }
  if (bytes[0] === "{".charCodeAt(0)) return { from: file, kit: examineKit(bytes) };
  const text = fromUtf8(bytes);
  const lines = text.split(/\r?\n/).filter((line) => line.trim() !== "");
  return lines[0]?.startsWith("exclave-kit ") === true
    ? { from: file, kit: examineKit(joinKit(lines)) }
    : { from: file, sealed: sealedFromBytes(decodeShareText(text)) };
}

async function openOne(
  terminal: Terminal,
  brought: Brought,
  known: ReadonlyMap<string, string> | undefined,
): Promise<OpenedShare | undefined> {
  const who =
    "kit" in brought
      ? `key holder ${brought.kit.index + 1}, ${brought.kit.holder}`
      : `key holder of ${brought.from}`;
  const open = (opener: string): Promise<OpenedShare> =>
    "kit" in brought ? openShare(brought.kit, opener) : openSealed(brought.sealed, opener);
  if (known) {
    const passphrase = known.get(who);
    if (passphrase !== undefined) return open(passphrase);
    throw new ExclaveError("usage", `the file of passphrases has none for ${who}`);
  }
  stderr.write(`\n${who}: it is your turn. Everybody else looks away.\n`);
  for (let tries = 1; tries <= TRIES_MAX; tries++) {
    try {
      return await open(await askHidden("Passphrase or age identity: "));
    } catch (error) {
      if (!isExclaveError(error, "wrong-passphrase")) throw error;
      stderr.write("That does not open it. Mind upper and lower case.\n");
    }
  }
  terminal.notice(`${who} could not open their kit; it is left out`);
  return undefined;
}

/** Lines of a passphrase, a tab, and whose it is. */
async function readPassphrases(file: string): Promise<ReadonlyMap<string, string>> {
  const text = await readFile(file, "utf8").catch((cause: unknown) => {
    throw new ExclaveError("usage", `the file of passphrases ${file} cannot be read`, { cause });
  });
  return new Map(
    text
      .split("\n")
      .filter((line) => line.includes("\t"))
      .map((line) => {
        const tab = line.indexOf("\t");
        return [line.slice(tab + 1), line.slice(0, tab)];
      }),
  );
}
