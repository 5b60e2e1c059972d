/** What the operator of a site does there; the rest of `exclave site` is for a State's home. */
import type { Command } from "commander";
import { siteCardCommand } from "./site-card.ts";
import { siteGrantCommand, siteGrantsCommand } from "./site-grant.ts";
import { siteInitCommand } from "./site-init.ts";
import { sitePeerCommand } from "./site-peer.ts";
import { siteProgramCommand } from "./site-program.ts";
import { siteServeCommand } from "./site-serve.ts";
import type { Terminal } from "./terminal.ts";

export function siteOperatorCommands(terminal: Terminal): readonly Command[] {
  return [
    siteInitCommand(terminal),
    siteCardCommand(terminal),
    siteGrantCommand(terminal),
    siteGrantsCommand(terminal),
    sitePeerCommand(terminal),
    siteServeCommand(terminal),
    siteProgramCommand(terminal),
  ];
}
