import { readFile } from "node:fs/promises";
import { Command } from "commander";
import { ExclaveError } from "../errors.ts";
import { addPeer } from "../site-daemon/settings.ts";
import { fingerprintOf } from "../sites/self-signed.ts";
import { openSiteCard } from "../sites/site-card.ts";
import { type FolderFlag, folderOption } from "./site-folder.ts";
import type { Terminal } from "./terminal.ts";

const HELP = `
A veto counts when any site has it. Sites that know each other pass it on, so that who has a seat
needs to reach one of them alone. Restart the site for it to take effect.`;

/** `exclave site peer`: another site of the same States, to be told of vetoes and freezes. */
export function sitePeerCommand(terminal: Terminal): Command {
  return new Command("peer")
    .description("at a site: name another site, to pass vetoes and freezes on to")
    .argument("<card>", "the other site's card")
    .addOption(folderOption())
    .addHelpText("after", HELP)
    .action(async (file: string, flags: FolderFlag) => {
      const bytes = await readFile(file).catch((cause: unknown) => {
        throw new ExclaveError("usage", `the card ${file} cannot be read`, { cause });
      });
      const { card, key } = openSiteCard(bytes);
      const { name, url, signing } = card;
      const peers = await addPeer(flags.folder, { name, url, signing });
      terminal.result({ peer: { name, url, fingerprint: fingerprintOf(key.id) }, peers }, [
        `Vetoes and freezes that come here are passed on to ${name}, at ${url}.`,
        `  fingerprint   ${fingerprintOf(key.id)}   compare it with its operator, by telephone`,
      ]);
    });
}
