import { Command } from "commander";
import { packProgram } from "../site-daemon/program.ts";
import { formatBytes } from "./format.ts";
import { writeNewFile } from "./new-file.ts";
import type { Terminal } from "./terminal.ts";

const HELP = `
  exclave site program --out exclave.tgz

Put the file beside site.json and name it there as "program": the site hands it out to whoever
recovers a State. To run it: tar xf exclave.tgz, then exclave-VERSION/bin/exclave, with Node alone.`;

export function siteProgramCommand(terminal: Terminal): Command {
  return new Command("program")
    .description("pack this program with all that it needs, to run on a machine without a network")
    .requiredOption("--out <file>", "where to write it; nothing is overwritten")
    .addHelpText("after", HELP)
    .action(async ({ out }: { readonly out: string }) => {
      const { version, bytes, sha256 } = packProgram();
      const file = await writeNewFile(out, bytes);
      terminal.result({ program: file, version, bytes: bytes.length, sha256 }, [
        `Exclave ${version} is packed in ${file} (${formatBytes(bytes.length)}).`,
        "",
        `  SHA-256   ${sha256}`,
      ]);
    });
}
