import { resolve } from "node:path";
import { Command } from "commander";
import { ExclaveError, isExclaveError } from "../errors.ts";
import { parseByteSize } from "../platform/units.ts";
import { type PackReport, packPouch, pouchBookPath } from "../registers/pack-pouch.ts";
import { type ReceiveReport, receivePouch } from "../registers/receive-pouch.ts";
import { type DeliverReport, deliverPouch } from "../site-daemon/deliver-pouch.ts";
import { packProgram } from "../site-daemon/program.ts";
import { readSettings } from "../site-daemon/settings.ts";
import type { Home } from "../vault/home.ts";
import { PouchBook } from "../vault/pouch-book.ts";
import { openHome, withHome } from "./context.ts";
import { EXIT } from "./exit-codes.ts";
import { formatBytes, formatTable, formatTime, plural } from "./format.ts";
import { listenerFlag } from "./listener-flag.ts";
import type { MakeCommand } from "./main.ts";
import { shellLine } from "./page.ts";
import { type FolderFlag, folderOption } from "./site-folder.ts";
import type { Terminal } from "./terminal.ts";

const HELP = `
A pouch is a folder on a medium that a courier carries, for a site that a line is too slow for.
At home:           exclave pouch pack civil --site lu --to /media/stick/pouch
At the site:       exclave pouch deliver /media/stick/pouch
At home again:     exclave pouch receive /media/stick/pouch

What is in it is encrypted, and no more than that one site would have had over the line; whoever finds
it or copies it learns sizes and times. What is damaged or missing is refused by name, and the rest taken.`;

const PACK_HELP = `
It fills the medium with what fits, and says how many more there must be; for the next one, run it again
with the next medium. A run that was cut short goes on in the same folder. What is on its way is not packed
twice: if a medium is lost, --again packs what was on it anew.`;

const PROBLEMS_SHOWN_MAX = 20;

export const pouchCommand: MakeCommand = (terminal, setExit) => {
  const pouch = new Command("pouch")
    .description("removable media that a courier carries to a site, and receipts back")
    .addHelpText("after", HELP);
  pouch.addCommand(packCommand(terminal, setExit));
  pouch.addCommand(deliverCommand(terminal, setExit));
  pouch.addCommand(receiveCommand(terminal, setExit));
  pouch.addCommand(listCommand(terminal));
  return pouch;
};

type SetExit = (code: number) => void;

type PackFlags = {
  readonly site: string;
  readonly to: string;
  readonly mediaBytes?: number;
  readonly program: boolean;
  readonly again: boolean;
};

function packCommand(terminal: Terminal, setExit: SetExit): Command {
  return new Command("pack")
    .description("at home: write what a site lacks of a register onto a medium")
    .argument("<register>")
    .requiredOption("--site <name>", "for which site")
    .requiredOption("--to <dir>", "a folder on the medium: empty, or not there yet")
    .option(
      "--media-bytes <size>",
      "take no more of the medium, for instance 2TB",
      (text: string) => parseByteSize(text, "--media-bytes"),
    )
    .option("--no-program", "leave the program out")
    .option("--again", "pack once more what is on its way: the medium was lost", false)
    .addHelpText("after", PACK_HELP)
    .action(async (name: string, flags: PackFlags) => {
      const report = await withHome(async (home, catalog) => {
        if (flags.again) giveUp(terminal, home, flags.site, name);
        return packPouch({
          home,
          catalog,
          register: name,
          site: flags.site,
          folder: resolve(flags.to),
          mediaBytes: flags.mediaBytes,
          program: flags.program ? packedProgram(terminal) : undefined,
          now: new Date(),
          onProgress: (progress) =>
            terminal.progress(
              { pouch: flags.to, ...progress },
              () => `${plural(progress.shards, "shard")}, ${formatBytes(progress.bytes)}`,
            ),
        });
      });
      terminal.endProgress();
      if (report.lostPacks > 0 || report.problems.length > 0) setExit(EXIT.incomplete);
      terminal.result(report, packed(report));
    });
}

function giveUp(terminal: Terminal, home: Home, site: string, register: string): void {
  const book = new PouchBook(pouchBookPath(home));
  try {
    const shards = book.giveUp(site, register);
    terminal.notice(`given up, as they are lost: ${plural(shards, "shard")} on their way`);
  } finally {
    book.close();
  }
}

/** The program that runs, packed; undefined where it is not compiled, which is said. */
function packedProgram(terminal: Terminal) {
  try {
    return packProgram();
  } catch (error) {
    if (!isExclaveError(error, "usage")) throw error;
    terminal.notice(`the program is not sent along: ${error.message}`);
    return undefined;
  }
}

function packed(report: PackReport): readonly string[] {
  const { register, site, part, folder, shards, documents, bytes, left, mediaLeft } = report;
  return [
    `Medium ${part} to ${site} is packed: ${plural(shards, "shard")} and ${plural(documents, "document")} of ${register}, ${formatBytes(bytes)}.`,
    ...(report.unreachable === undefined
      ? []
      : [
          `${site} could not say what it has (${report.unreachable}); what it gave no receipt for is packed.`,
        ]),
    ...(left.shards === 0
      ? []
      : [
          `It takes about ${plural(mediaLeft, "more medium", "more media")} like this: ${plural(left.shards, "shard")}, ${formatBytes(left.bytes)}, are left.`,
          `For the next one:   ${shellLine("exclave", "pouch", "pack", register, "--site", site, "--to")} DIR`,
        ]),
    ...report.problems.slice(0, PROBLEMS_SHOWN_MAX).map((why) => `not packed: ${why}`),
    ...(report.lostPacks === 0
      ? []
      : [`${plural(report.lostPacks, "pack")} cannot be made anew: too few shards are left`]),
    "",
    `At the site:        ${shellLine("exclave", "pouch", "deliver", folder)}`,
    `Then, here again:   ${shellLine("exclave", "pouch", "receive", folder)}`,
  ];
}

type DeliverFlags = FolderFlag & { readonly admin?: string; readonly receipts?: string };

function deliverCommand(terminal: Terminal, setExit: SetExit): Command {
  return new Command("deliver")
    .description("at the site: have the site that runs here take a pouch in, and sign for it")
    .argument("<dir>", "the pouch, on the medium")
    .addOption(folderOption())
    .option("--admin <host:port>", "where the site's metrics are (default: as site.json has it)")
    .option("--receipts <dir>", "where the receipts go (default: onto the medium)")
    .action(async (dir: string, flags: DeliverFlags) => {
      const admin =
        flags.admin === undefined
          ? (await readSettings(flags.folder)).admin
          : listenerFlag(flags.admin);
      if (admin.port === 0) {
        throw new ExclaveError(
          "usage",
          "the site's port for this is any free one. Nothing was delivered; give --admin HOST:PORT as the site said it",
        );
      }
      const report = await deliverPouch({
        folder: resolve(dir),
        admin,
        receiptsFolder: flags.receipts === undefined ? undefined : resolve(flags.receipts),
        onProgress: (progress) =>
          terminal.progress(
            { pouch: dir, ...progress },
            () =>
              `${progress.objects} of ${plural(progress.objectsTotal, "object")}, ${formatBytes(progress.bytes)}`,
          ),
      });
      terminal.endProgress();
      if (report.refused > 0 || report.program?.good === false) setExit(EXIT.incomplete);
      terminal.result(report, delivered(report, resolve(dir)));
    });
}

function delivered(report: DeliverReport, folder: string): readonly string[] {
  const { part, site, objects, taken, there, aside, refused, problems, signed, program } = report;
  return [
    `Medium ${part} to ${site}: ${plural(taken, "object")} taken, ${there} were there, of ${objects}.`,
    ...(aside === 0
      ? []
      : [`${plural(aside, "object")} set aside until the site knows the newest of the ledger.`]),
    ...(refused === 0
      ? []
      : [
          `${plural(refused, "object")} refused. Deliver again, or have the State pack them anew:`,
          ...problems.slice(0, PROBLEMS_SHOWN_MAX).map((why) => `  ${why}`),
        ]),
    ...(program === undefined
      ? []
      : [
          program.good
            ? `The program on it is as the State signed it, SHA-256 ${program.sha256}.`
            : "The program on it is NOT the one that the State signed. Do not run it.",
        ]),
    `The site has signed for ${plural(signed, "object")}. Send the medium back: ${folder}`,
  ];
}

function receiveCommand(terminal: Terminal, setExit: SetExit): Command {
  return new Command("receive")
    .description("at home: take in what a site has signed for a pouch")
    .argument("<dir>", "the pouch that came back")
    .action(async (dir: string) => {
      const report = await withHome((home, catalog) =>
        receivePouch({ home, catalog, folder: resolve(dir), now: new Date() }),
      );
      if (report.problems.length > 0 || report.receipts === 0) setExit(EXIT.incomplete);
      terminal.result(report, received(report));
    });
}

function received(report: ReceiveReport): readonly string[] {
  const { site, part, receipts, confirmed, unconfirmed, retainUntil, problems } = report;
  return [
    receipts === 0
      ? `There is no receipt of ${site} on it. It was not delivered yet, or its receipts are elsewhere.`
      : `Medium ${part}: ${site} has signed; newly confirmed: ${plural(confirmed, "shard")}.`,
    ...(retainUntil === undefined
      ? []
      : [`It keeps them until ${formatTime(retainUntil)} at least.`]),
    ...(unconfirmed === 0
      ? []
      : [`${plural(unconfirmed, "shard")} of this medium are not confirmed. Deliver it again.`]),
    ...problems.slice(0, PROBLEMS_SHOWN_MAX).map((why) => `not taken: ${why}`),
  ];
}

function listCommand(terminal: Terminal): Command {
  return new Command("list")
    .description("at home: the pouches that were packed, and which are on their way")
    .action(async () => {
      const home = await openHome();
      const book = new PouchBook(pouchBookPath(home));
      try {
        const pouches = book.all();
        const rows = pouches.map(
          ({ site, part, register, time, bytes, unconfirmed, received: back }) => [
            site,
            String(part),
            register,
            formatTime(time),
            formatBytes(bytes),
            unconfirmed > 0
              ? `${plural(unconfirmed, "shard")} not confirmed`
              : back
                ? "confirmed"
                : "",
          ],
        );
        terminal.result(
          { pouches },
          rows.length === 0
            ? ["No pouch was packed yet. Next: exclave pouch pack REGISTER --site NAME --to DIR"]
            : formatTable([["site", "medium", "register", "packed", "holds", "now"], ...rows]),
        );
      } finally {
        book.close();
      }
    });
}
