/** Where the recovery key comes from, on the command line: kits, or the key file of a trial. */
import { readFile } from "node:fs/promises";
import { ExclaveError } from "../errors.ts";
import { keySource, type RecoverySource } from "../registers/recover.ts";
import { openKey } from "../vault/recovery-key.ts";
import { openKits } from "./kits.ts";
import { knownPassphrase } from "./passphrase.ts";
import type { Terminal } from "./terminal.ts";

/** Has the kits opened by their holders, or the key file. Throws `usage` unless one of both is given. */
export async function recoverySource(
  terminal: Terminal,
  flags: {
    readonly kit: readonly string[];
    /** Of the kits, for rehearsals. */
    readonly passphrases?: string;
    readonly key?: string;
    readonly passphraseFile?: string;
  },
): Promise<RecoverySource> {
  if ((flags.key === undefined) === (flags.kit.length === 0)) {
    throw new ExclaveError(
      "usage",
      "give --kit FILE for each key holder who is there, or --key FILE",
    );
  }
  if (flags.key === undefined) return openKits(terminal, flags.kit, flags.passphrases);
  return keySource(await openKeyAt(flags.key, "recovery-key", flags.passphraseFile));
}

/** The key in a file, with the passphrase that is in another or asked for. Throws `usage`, and as `openKey` does. */
export async function openKeyAt(
  path: string,
  kind: Parameters<typeof openKey>[0],
  passphraseFile: string | undefined,
): ReturnType<typeof openKey> {
  const file = await readFile(path).catch((cause: unknown) => {
    throw new ExclaveError("usage", `the key file ${path} cannot be read`, { cause });
  });
  return openKey(kind, file, await knownPassphrase(passphraseFile));
}
