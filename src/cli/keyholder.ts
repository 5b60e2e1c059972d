/** `keyholder`: what key holders, and who watches over them, do between a ceremony and the worst day. */
import { randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import { resolve } from "node:path";
import { Command } from "commander";
import { fromHex, wipe } from "../crypto/bytes.ts";
import { openShare } from "../custody/kit.ts";
import { makeReceipt, signReceipt } from "../custody/receipt.ts";
import { ExclaveError, isExclaveError } from "../errors.ts";
import { confirmReceipt, custodyStatus } from "../governance/custody.ts";
import { openAllSites, publish, requireCurrent } from "../governance/ledger-at-sites.ts";
import { readRecord } from "../governance/records.ts";
import {
  openWatch,
  readRequest,
  requestFor,
  type Watch,
  type Watched,
  watchOpening,
  watchReceipt,
} from "../governance/watch.ts";
import { writeKeyFile } from "../vault/key-files.ts";
import { openAt, parseSiteAddress } from "../vault/site-address.ts";
import { readDocument } from "../vault/site-documents.ts";
import { openHome, withState } from "./context.ts";
import { custodyLines } from "./custody-lines.ts";
import { EXIT } from "./exit-codes.ts";
import { formatTable, formatTime } from "./format.ts";
import { divideCommands } from "./keyholder-divide.ts";
import { readKit } from "./kits.ts";
import type { MakeCommand } from "./main.ts";
import { askHidden, knownPassphrase } from "./passphrase.ts";
import { collect } from "./register.ts";

export const keyholderCommand: MakeCommand = (terminal, setExit) => {
  const keyholder = new Command("keyholder").description(
    "the people who keep the shares of the recovery key",
  );
  keyholder
    .command("list")
    .description("who they are, and when each last showed that they can open their kit")
    .action(async () => {
      const status = await custodyStatus(await openHome());
      const now = new Date();
      terminal.result(status, [
        ...custodyLines(status, now),
        "",
        ...formatTable([
          ["", "office", "country", "last opened"],
          ...status.holders.map(({ number, office, jurisdiction, confirmed }) => [
            `${number}`,
            office,
            jurisdiction,
            confirmed ? formatTime(confirmed.toISOString()) : "not yet",
          ]),
        ]),
      ]);
    });
  keyholder
    .command("request")
    .description("abroad: a request for a key holder, from the watch; each number serves once")
    .requiredOption("--watch <file>", "the watch that the ceremony made")
    .requiredOption("--holder <number>", "1 to n, as on the kit", counted)
    .requiredOption("--number <number>", "which request: 1 was used at the ceremony", counted)
    .requiredOption("--out <file>", "where to write it; give it to that holder alone")
    .option("--passphrase-file <file>", "the watch's passphrase; asked for when absent")
    .action(async (flags: RequestFlags) => {
      const watch = await openWatch(
        await readGiven(flags.watch),
        await knownPassphrase(flags.passphraseFile),
      );
      const out = resolve(flags.out);
      await writeKeyFile(out, requestFor(watch, flags.holder, flags.number));
      terminal.result({ request: out, holder: flags.holder, number: flags.number }, [
        `Request ${flags.number} for key holder ${flags.holder} is in ${out}.`,
        "They answer it with: exclave keyholder open KIT --request FILE --out RECEIPT",
      ]);
    });
  keyholder
    .command("open")
    .argument("<kit>", "your kit's file")
    .description("as a key holder: open your kit once, and write a receipt that says so")
    .requiredOption("--request <file>", "what you were asked with")
    .requiredOption("--out <file>", "where to write the receipt; it goes back to who asked")
    .option("--passphrase-file <file>", "the kit's passphrase; asked for when absent")
    .action(async (file: string, flags: OpenFlags) => {
      const kit = await readKit(resolve(file));
      const { state, setId, index, challenge } = readRequest(await readGiven(flags.request));
      if (state !== kit.state || setId !== kit.set.setId || index !== kit.index) {
        throw new ExclaveError("usage", "the request is for another kit. Nothing was opened");
      }
      const opener =
        flags.passphraseFile === undefined
          ? await askHidden(`Key holder ${index + 1}, ${kit.holder}: passphrase or age identity: `)
          : await knownPassphrase(flags.passphraseFile);
      const opened = await openShare(kit, opener);
      const time = `${new Date().toISOString().slice(0, 19)}Z`;
      const receipt = makeReceipt(opened, fromHex(challenge, 32), { time, randomBytes });
      const out = resolve(flags.out);
      await writeKeyFile(out, signReceipt(receipt, opened.share));
      wipe(opened.share.share);
      terminal.result({ receipt: out, holder: index + 1, stateName: kit.stateName }, [
        `The kit of key holder ${index + 1} of ${kit.stateName} opens, and the share in it is right.`,
        `The receipt is in ${out}: send it to who asked, sealed.`,
      ]);
    });
  keyholder
    .command("watch")
    .argument("[receipt...]", "receipts that came back")
    .description(
      "abroad: see how kits were opened, by receipts, and by what a site has of openings",
    )
    .requiredOption("--watch <file>", "the watch that the ceremony made")
    .option(
      "--site <address>",
      "a site, its directory or https://host:port: every opening of the recovery key is there",
      collect,
      [],
    )
    .option("--passphrase-file <file>", "the watch's passphrase; asked for when absent")
    .action(async (files: readonly string[], flags: WatchFlags) => {
      const watch = await openWatch(
        await readGiven(flags.watch),
        await knownPassphrase(flags.passphraseFile),
      );
      const seen: Watched[] = [];
      for (const file of files) seen.push(watchReceipt(watch, await readGiven(file)));
      for (const address of flags.site) seen.push(...(await openingsAt(watch, address)));
      if (seen.some(({ mark }) => mark !== "usual")) setExit(EXIT.checkFailed);
      terminal.result(
        { seen },
        seen.length === 0
          ? ["Nothing to look at: no receipt, and no opening."]
          : seen.map(seenLine),
      );
    });
  for (const name of ["confirm", "check"] as const) {
    keyholder
      .command(name)
      .argument("<receipt...>", "receipts of key holders, from who watches")
      .description(
        name === "confirm"
          ? "at home: take the receipts of a new set's holders; the ledger keeps their hash"
          : "at home: the same, once a year: each holder shows that they can still open their kit",
      )
      .action(async (files: readonly string[]) => {
        const home = await openHome();
        const now = new Date();
        const taken = await withState(home, async () => {
          const places = await openAllSites(home);
          await requireCurrent(home, places);
          const confirmed = [];
          for (const file of files) {
            confirmed.push(await confirmReceipt(home, await readGiven(file), now));
          }
          await publish(home, places);
          return confirmed;
        });
        const status = await custodyStatus(home);
        terminal.result({ confirmed: taken, status }, [
          ...taken.map(({ number }) => `Key holder ${number} has opened their kit.`),
          ...custodyLines(status, now),
        ]);
      });
  }
  for (const command of divideCommands(terminal)) keyholder.addCommand(command);
  return keyholder;
};

type RequestFlags = {
  readonly watch: string;
  readonly holder: number;
  readonly number: number;
  readonly out: string;
  readonly passphraseFile?: string;
};
type OpenFlags = {
  readonly request: string;
  readonly out: string;
  readonly passphraseFile?: string;
};
type WatchFlags = {
  readonly watch: string;
  readonly site: readonly string[];
  readonly passphraseFile?: string;
};

function seenLine({ number, office, time, mark }: Watched): string {
  const who = `key holder ${number} (${office})`;
  if (mark === "usual") return `Usual: ${who} opened their kit on ${formatTime(time)}.`;
  return mark === "duress"
    ? `DURESS: ${who} opened their kit on ${formatTime(time)} with the second passphrase. Do not let them notice that you know.`
    : `UNKNOWN: ${who} signed a receipt on ${formatTime(time)} whose mark is neither of theirs; treat it as duress.`;
}

/** What a site has of openings of this set; others are not for this watch. */
async function openingsAt(watch: Watch, address: string): Promise<readonly Watched[]> {
  const identity = { name: address, country: "?", operator: "?", hazardZone: "?" };
  const { site } = await openAt(parseSiteAddress(address), { identity, state: watch.state });
  const seen: Watched[] = [];
  for await (const name of site.list("opening")) {
    try {
      const bytes = await readDocument(site, name);
      const record = bytes && readRecord(bytes);
      if (record?.what !== "opening" || record.setId !== watch.setId || !record.sealed) continue;
      seen.push(...watchOpening(watch, record.sealed, fromHex(record.challenge, 32)));
    } catch (error) {
      // What a site planted is none; the others are looked at all the same.
      if (!isExclaveError(error) || error.code === "bug") throw error;
    }
  }
  return seen;
}

function counted(text: string): number {
  if (/^[1-9]\d?$/.test(text)) return Number(text);
  throw new ExclaveError("usage", `${text} is not a number from 1 to 99`);
}

async function readGiven(file: string): Promise<Uint8Array> {
  return readFile(file).catch((cause: unknown) => {
    throw new ExclaveError("usage", `the file ${file} cannot be read`, { cause });
  });
}
