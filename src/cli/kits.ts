/** Kits on the command line: read, opened one after another, each by its holder, and brought together. */
import { readFile } from "node:fs/promises";
import { stderr } from "node:process";
import { combineKits, compareKits, examineKit, type OpenedKit } from "../custody/combine-kits.ts";
import { type Kit, openShare } from "../custody/kit.ts";
import type { OpenedShare } from "../custody/sealed-share.ts";
import type { ShareSetPublic } from "../custody/share-set.ts";
import { ExclaveError, invariant, isExclaveError } from "../errors.ts";
import { askHidden } from "./passphrase.ts";
import type { Terminal } from "./terminal.ts";

/** A holder's tries, before the next one's turn. */
const TRIES_MAX = 3;

/** Kits that were opened, and what they say. */
export type OpenedKits = {
  readonly state: string;
  readonly stateName: string;
  readonly fingerprint: string;
  readonly opened: readonly OpenedShare[];
  /** The secret, when they fit the share set of the charter. Throws as `combineKits` does. */
  readonly secretFor: (set: ShareSetPublic) => Uint8Array;
};

/** Reads kits, and has each opened by its holder. `passphrases`: a file of them, for rehearsals. */
export async function openKits(
  terminal: Terminal,
  files: readonly string[],
  passphrases: string | undefined,
): Promise<OpenedKits> {
  const kits = await Promise.all(files.map(readKit));
  const { agreed, refused } = compareKits(kits);
  for (const { position, index, reason } of refused) {
    terminal.notice(
      `the kit ${files[position]} of key holder ${index + 1} is left out: it is ${reason}`,
    );
  }
  const [model] = agreed;
  invariant(model, "of several kits some agree");
  if (!terminal.json) {
    stderr.write(
      `Kits of ${model.stateName}, fingerprint ${model.fingerprint}. Compare it with the one that was read aloud at the founding.\n`,
    );
  }
  const known = passphrases === undefined ? undefined : await readPassphrases(passphrases);
  const opened: (OpenedKit & { readonly result: OpenedShare })[] = [];
  for (const kit of agreed) {
    const result = await openOne(terminal, kit, known);
    if (result) opened.push({ kit, share: result.share, result });
  }
  return {
    state: model.state,
    stateName: model.stateName,
    fingerprint: model.fingerprint,
    opened: opened.map(({ result }) => result),
    secretFor: (set) => combineKits(opened, { state: model.state, set }).secret,
  };
}

export async function readKit(file: string): Promise<Kit> {
  const bytes = await readFile(file).catch((cause: unknown) => {
    throw new ExclaveError("usage", `the kit ${file} cannot be read`, { cause });
  });
  return examineKit(bytes);
}

async function openOne(
  terminal: Terminal,
  kit: Kit,
  known: ReadonlyMap<string, string> | undefined,
): Promise<OpenedShare | undefined> {
  const who = `key holder ${kit.index + 1}, ${kit.holder}`;
  if (known) {
    const passphrase = known.get(who);
    if (passphrase !== undefined) return openShare(kit, passphrase);
    throw new ExclaveError("usage", `the file of passphrases has none for ${who}`);
  }
  stderr.write(`\n${who}: it is your turn. Everybody else looks away.\n`);
  for (let tries = 1; tries <= TRIES_MAX; tries++) {
    try {
      return await openShare(kit, await askHidden("Passphrase or age identity: "));
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
