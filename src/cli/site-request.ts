import { resolve } from "node:path";
import { Command } from "commander";
import { parseByteSize } from "../platform/units.ts";
import { signGrantRequest } from "../sites/grant-request.ts";
import { fingerprintOf } from "../sites/self-signed.ts";
import { openHome } from "./context.ts";
import { formatBytes } from "./format.ts";
import { writeNewFile } from "./new-file.ts";
import type { Terminal } from "./terminal.ts";

const QUOTA_BYTES = 1e12;

const HELP = `
Send the file to who runs the site; they let the State in with \`exclave site grant\`, and send
their card back for \`exclave site add --card\`. Compare both fingerprints by telephone: the
request says which machine writes for the State, the card which key the site has.`;

/** `exclave site request`: what a State gives to the operator of a site that is to serve it. */
export function siteRequestCommand(terminal: Terminal): Command {
  return new Command("request")
    .description("write what a site's operator needs to let this State in")
    .option(
      "--quota <size>",
      "what is to be stored there, for instance 2TB",
      (text: string) => parseByteSize(text, "--quota"),
      QUOTA_BYTES,
    )
    .option("--out <file>", "where to write it (default: STATE-request.json, here)")
    .addHelpText("after", HELP)
    .action(async (flags: { readonly quota: number; readonly out?: string }) => {
      const home = await openHome();
      // Throws for a home that is not the State's any more: its key must not be let in.
      void home.term;
      const requested = {
        state: home.state,
        name: home.charter.name,
        charter: home.known.charterId,
        quotaBytes: flags.quota,
      };
      const file = resolve(flags.out ?? `${home.state.slice(0, 12)}-request.json`);
      await writeNewFile(file, signGrantRequest(home.agent, requested, new Date()));
      const fingerprint = fingerprintOf(home.agent.id);
      terminal.result({ request: file, ...requested, agent: home.agent.id, fingerprint }, [
        `${home.charter.name} asks to store ${formatBytes(flags.quota)}: ${file}`,
        "",
        `  fingerprint   ${fingerprint}   of this home's key; read it to the operator by telephone`,
      ]);
    });
}
