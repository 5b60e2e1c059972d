import { Command } from "commander";
import { holdProgram, type PackedProgram, packProgram } from "../site-daemon/program.ts";
import { formatBytes } from "./format.ts";
import { writeNewFile } from "./new-file.ts";
import { type FolderFlag, folderOption } from "./site-folder.ts";
import type { Terminal } from "./terminal.ts";

const HELP = `
  exclave site program --folder /var/lib/exclave-site      at a site: hand out this release
  exclave site program --out exclave.tgz

A site hands it out at /v1/program to whoever recovers a State; \`init\` has it do so, and after an
upgrade this does. Its SHA-256 goes into the founding plan, and from there onto the kits. To run
it: tar xf exclave.tgz, then exclave-VERSION/bin/exclave, with Node alone.`;

export function siteProgramCommand(terminal: Terminal): Command {
  return new Command("program")
    .description("pack this program with all that it needs, to run on a machine without a network")
    .option("--out <file>", "where to write it; nothing is overwritten")
    .addOption(folderOption())
    .addHelpText("after", HELP)
    .action(async ({ out, folder }: FolderFlag & { readonly out?: string }) => {
      if (out === undefined) return sayHeld(terminal, folder, await holdProgram(folder));
      const { version, bytes, sha256 } = packProgram();
      const file = await writeNewFile(out, bytes);
      terminal.result({ program: file, version, bytes: bytes.length, sha256 }, [
        `Exclave ${version} is packed in ${file} (${formatBytes(bytes.length)}).`,
        "",
        `  SHA-256   ${sha256}`,
      ]);
    });
}

function sayHeld(terminal: Terminal, folder: string, program: PackedProgram): void {
  const { version, bytes, sha256 } = program;
  terminal.result({ folder, version, bytes: bytes.length, sha256 }, [
    `The site hands out Exclave ${version} (${formatBytes(bytes.length)}) when it is started the next time.`,
    "",
    `  SHA-256   ${sha256}`,
  ]);
}
