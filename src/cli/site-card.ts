import { Command } from "commander";
import { openSiteFiles } from "../site-daemon/site-files.ts";
import { fingerprintOf } from "../sites/self-signed.ts";
import { openSiteCard } from "../sites/site-card.ts";
import { writeNewFile } from "./new-file.ts";
import { type FolderFlag, folderOption } from "./site-folder.ts";
import type { Terminal } from "./terminal.ts";

type CardFlags = FolderFlag & { readonly out?: string };

export function siteCardCommand(terminal: Terminal): Command {
  return new Command("card")
    .description("at a site: who it is and which keys it has, for a State to admit it by")
    .addOption(folderOption())
    .option("--out <file>", "write the card here; nothing is overwritten")
    .action(async ({ folder, out }: CardFlags) => {
      const bytes = (await openSiteFiles(folder)).card();
      const { card, key } = openSiteCard(bytes);
      const { name, country, operator, hazardZone, url, witness, storage } = card;
      const file = out === undefined ? undefined : await writeNewFile(out, bytes);
      const fingerprint = fingerprintOf(key.id);
      terminal.result(
        {
          name,
          country,
          operator,
          hazardZone,
          url,
          witness,
          storage,
          id: key.id,
          fingerprint,
          ...(file === undefined ? {} : { card: file }),
        },
        [
          `Site ${name} (${country}), run by ${operator}`,
          "",
          `  reached at    ${url}`,
          `  hazard zone   ${hazardZone}`,
          `  stores        ${storage === "s3" ? "in an S3 engine" : "on a disk of its own"}`,
          `  witness       ${witness[0]?.split("+", 1)[0] ?? ""}`,
          `  fingerprint   ${fingerprint}`,
          "",
          file === undefined
            ? "To hand it out: exclave site card --out FILE"
            : `The card is in ${file}. Send it, and read the fingerprint to the State by telephone.`,
        ],
      );
    });
}
