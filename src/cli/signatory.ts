import { readFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { Command } from "commander";
import { ExclaveError } from "../errors.ts";
import {
  type KeyFileSeal,
  newSignatoryKey,
  type OpenedCard,
  readCard,
} from "../governance/signatory-key.ts";
import { writeKeyFile } from "../vault/key-files.ts";
import { formatTime } from "./format.ts";
import type { MakeCommand } from "./main.ts";
import { writeNewFile } from "./new-file.ts";
import { generatedPassphrase, newPassphrase } from "./passphrase.ts";
import { momentFlag } from "./proposed.ts";

const HELP = `
The key stays with the person: on a stick in a drawer that only they open, and used at a
machine they trust. The card goes to whoever drafts the charter, who takes it from the
person's own hand and compares the fingerprint.

  exclave signatory new --name "Ana Sosa" --office "Minister of Justice" \\
    --institution "Government of Belize" --jurisdiction BZ --until 2030-01-31 --out /media/stick

A key in a device: give its age recipient (--recipient age1…). To sign, let age open it:
  age --decrypt -i IDENTITY NAME.key.age | exclave decide sign FILE --key - --yes`;

export const signatoryCommand: MakeCommand = (terminal) => {
  const signatory = new Command("signatory").description(
    "the keys of those who sign decisions, and the cards that show whose they are",
  );
  signatory
    .command("new")
    .description("make a person's signing key, and the card that shows it")
    .requiredOption(
      "--name <name>",
      "the person; it stays out of the charter, which has the office",
    )
    .requiredOption("--office <office>", 'by virtue of which they sign, such as "Chief Justice"')
    .requiredOption("--institution <name>", "that the office belongs to")
    .requiredOption("--jurisdiction <cc>", "country of that institution, ISO 3166-1, such as BZ")
    .requiredOption("--until <date>", "the end of their time, such as 2030-01-31", momentFlag)
    .requiredOption(
      "--out <dir>",
      "where to write the key file and the card; nothing is overwritten",
    )
    .option("--passphrase-file <file>", "its passphrase; one is made, and shown once, when absent")
    .option("--recipient <age1…>", "seal the key to this age recipient, in place of a passphrase")
    .addHelpText("after", HELP)
    .action(async (flags: NewFlags) => {
      const { name, office, institution, until } = flags;
      const seal = await sealOf(flags);
      const jurisdiction = flags.jurisdiction.toUpperCase();
      const made = await newSignatoryKey({ name, office, institution, jurisdiction, until }, seal);
      const base = join(resolve(flags.out), fileName(name));
      const key = `${base}.key.age`;
      await writeKeyFile(key, made.keyFile);
      const card = await writeNewFile(`${base}.card.json`, made.card);
      terminal.result({ id: made.id, key, card, fingerprint: made.id }, [
        `${name} has a signing key, for ${office}.`,
        "",
        `  key file      ${key}   keep it, show it to nobody`,
        `  card          ${card}   give it to whoever drafts the charter`,
        `  fingerprint   ${inGroups(made.id)}`,
        "",
        "Write the fingerprint down. It is yours while the charter shows the same.",
      ]);
    });
  signatory
    .command("show")
    .argument("<card>", "a file that `exclave signatory new` made")
    .description("whose key a card shows; refused unless the key itself signed it")
    .action(async (file: string) => {
      const { card, key } = await cardFrom(file);
      const { name, office, institution, jurisdiction, until } = card;
      terminal.result(
        { name, office, institution, jurisdiction, until, id: key.id, fingerprint: key.id },
        [
          `${name}, ${office}`,
          "",
          `  institution   ${institution} (${jurisdiction})`,
          `  until         ${formatTime(until)}`,
          `  fingerprint   ${inGroups(key.id)}`,
          "",
          "The key signed this card. That the person is who it says, see for yourself.",
        ],
      );
    });
  return signatory;
};

type NewFlags = {
  readonly name: string;
  readonly office: string;
  readonly institution: string;
  readonly jurisdiction: string;
  readonly until: string;
  readonly out: string;
  readonly passphraseFile?: string;
  readonly recipient?: string;
};

async function sealOf({ passphraseFile, recipient }: NewFlags): Promise<KeyFileSeal> {
  if (recipient === undefined) {
    return {
      passphrase:
        passphraseFile === undefined
          ? await generatedPassphrase()
          : await newPassphrase(passphraseFile),
    };
  }
  if (passphraseFile === undefined) return { recipient };
  throw new ExclaveError("usage", "give --passphrase-file or --recipient, not both");
}

/** The card in a file. Throws as `readCard` does, `usage` when it cannot be read. */
export async function cardFrom(file: string): Promise<OpenedCard> {
  const bytes = await readFile(file).catch((cause: unknown) => {
    throw new ExclaveError("usage", `the card ${file} cannot be read`, { cause });
  });
  return readCard(bytes);
}

/** A person's name as a file's: "ana-sosa". */
function fileName(name: string): string {
  const plain = name
    .normalize("NFD")
    .replaceAll(/\p{M}/gu, "")
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N}]+/gu, "-")
    .replaceAll(/^-+|-+$/g, "")
    .slice(0, 60);
  return plain === "" ? "signatory" : plain;
}

/** A key id in groups, as it is read aloud and compared. */
function inGroups(id: string): string {
  return id.replaceAll(/(.{8})(?=.)/g, "$1 ");
}
