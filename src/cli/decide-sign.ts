/** `decide sign`: read a paper, and sign it with one's own key, on a machine that may know nothing of the State. */
import { readFile, rm } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { stdin } from "node:process";
import { Command } from "commander";
import type { Charter } from "../charter/charter.ts";
import { wipe } from "../crypto/bytes.ts";
import { KEY_FILE_BYTES_MAX } from "../crypto/key-file.ts";
import type { SigningKey } from "../crypto/signing.ts";
import { ExclaveError } from "../errors.ts";
import { readProposal, signProposal } from "../governance/proposal.ts";
import {
  isOpenedKeyFile,
  type KeyFileOpener,
  openSignatoryKey,
} from "../governance/signatory-key.ts";
import { writeDurably } from "../sites/durable.ts";
import { recoveryKeyFromSeed } from "../vault/recovery-key.ts";
import { proposalIn, toldAtHome } from "./decisions.ts";
import { plural } from "./format.ts";
import type { MakeCommand } from "./main.ts";
import { paperLines, viewOf } from "./paper.ts";
import { confirmed, identityFrom, knownPassphrase } from "./passphrase.ts";
import { recoverySource } from "./recovery-source.ts";
import { collect } from "./register.ts";
import type { Terminal } from "./terminal.ts";

export type KeyFlags = {
  readonly key?: string;
  readonly passphraseFile?: string;
  readonly identityFile?: string;
};

export const signCommand: MakeCommand = (terminal) =>
  new Command("sign")
    .argument("<file>", "a proposal; the signature is written into it")
    .description("read a decision, veto or freeze, and sign it")
    .option("--key <file>", "one's key file; - reads one that age has opened, from a pipe")
    .option(
      "--kit <file>",
      "in place of --key, where signatories are gone: the recovery key, once for each key holder who is there; it can seat others, or release epochs, and nothing else",
      collect,
      [],
    )
    .option("--passphrases <file>", "rehearse without people: the passphrases of the kits")
    .option("--passphrase-file <file>", "its passphrase; asked for when absent")
    .option("--identity-file <file>", "the age identity that opens it, in place of a passphrase")
    .option("--yes", "sign without asking, where there is no terminal", false)
    .action(async (file: string, flags: SignFlags) => {
      const now = new Date();
      const proposal = await proposalIn(file);
      const view = viewOf(proposal, now, await toldAtHome(proposal.state));
      for (const line of paperLines(view)) terminal.say(line);
      terminal.say("");
      if (view.standing?.status === "void" || view.standing?.status === "enacted") {
        throw new ExclaveError("usage", `it is not signed. ${view.stands} Nothing was changed`);
      }
      const without =
        "no terminal to ask at. Nothing was signed; read it with `exclave decide show`, then give --yes";
      if (!flags.yes && !(await confirmed('Type "yes" to sign it: ', without))) {
        throw new ExclaveError("interrupted", "it was not signed. Nothing was changed");
      }
      const key = await signingKeyFrom(terminal, flags, proposal.charter);
      const signed = signProposal(proposal, key);
      await replaceFile(file, signed);
      const next = viewOf(readProposal(signed), now, await toldAtHome(proposal.state));
      const counts = next.signed.length > view.signed.length;
      if (!counts) {
        terminal.notice(
          "this seat had signed before, or its time is over: a seat counts once, and this adds nothing",
        );
      }
      terminal.result({ signed: next, key: key.id, file: resolve(file), counts }, [
        `Signed: ${plural(next.signed.length, "seat")} signed by now.`,
        next.stands,
        "Give the file back to who sent it; there, with the copies of the others:",
        `  exclave decide submit ${file}`,
      ]);
    });

type SignFlags = KeyFlags & {
  readonly kit: readonly string[];
  readonly passphrases?: string;
  readonly yes: boolean;
};

/** A signatory's key, or the recovery key from kits. */
async function signingKeyFrom(
  terminal: Terminal,
  flags: SignFlags,
  { recovery }: Charter,
): Promise<SigningKey> {
  if (flags.kit.length === 0) {
    if (flags.key !== undefined) return keyFrom(flags);
    throw new ExclaveError("usage", "give --key FILE. Nothing was changed");
  }
  const { kit, key, passphrases } = flags;
  const source = await recoverySource(terminal, {
    kit,
    ...(key === undefined ? {} : { key }),
    ...(passphrases === undefined ? {} : { passphrases }),
  });
  const secret = source.secretFor(recovery.shares);
  try {
    return recoveryKeyFromSeed(secret).signing;
  } finally {
    wipe(secret);
  }
}

/** A signatory's key from its file, or from a pipe. */
export async function keyFrom({
  key = "",
  passphraseFile,
  identityFile,
}: KeyFlags): Promise<SigningKey> {
  const file = key === "-" ? await pipedKey() : await keyFile(key);
  return openSignatoryKey(file, await openerOf(file, passphraseFile, identityFile));
}

async function openerOf(
  file: Uint8Array,
  passphraseFile: string | undefined,
  identityFile: string | undefined,
): Promise<KeyFileOpener> {
  if (isOpenedKeyFile(file)) return { opened: true };
  if (identityFile === undefined) return { passphrase: await knownPassphrase(passphraseFile) };
  if (passphraseFile === undefined) return { identity: await identityFrom(identityFile) };
  throw new ExclaveError("usage", "give --passphrase-file or --identity-file, not both");
}

async function keyFile(path: string): Promise<Uint8Array> {
  return readFile(path).catch((cause: unknown) => {
    throw new ExclaveError("usage", `the key file ${path} cannot be read`, { cause });
  });
}

async function pipedKey(): Promise<Uint8Array> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const part of stdin as AsyncIterable<Buffer>) {
    bytes += part.byteLength;
    if (bytes > KEY_FILE_BYTES_MAX) {
      throw new ExclaveError(
        "bad-key",
        "what came through the pipe is no key. Nothing was changed",
      );
    }
    parts.push(part);
  }
  return Buffer.concat(parts);
}

/** Puts a file in the place of another at once, or leaves that as it was. */
async function replaceFile(path: string, bytes: Uint8Array): Promise<void> {
  const file = resolve(path);
  const temporary = join(dirname(file), `.${basename(file)}.${process.pid}.tmp`);
  await rm(temporary, { force: true });
  await writeDurably(file, temporary, [bytes]).catch((cause: unknown) => {
    throw new ExclaveError("usage", `${path} cannot be written; it is as it was`, { cause });
  });
}
