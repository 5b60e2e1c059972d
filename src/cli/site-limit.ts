import { Command } from "commander";
import { parseBandwidth } from "../sites/bandwidth.ts";
import { openHome } from "./context.ts";
import type { Terminal } from "./terminal.ts";

const HELP = `
  exclave site limit lu "20mbit 08:00-18:00, else unlimited"
  exclave site limit lu 50mbit
  exclave site limit lu unlimited

For links that the ministry works on by day. Hours are this machine's. It holds from the next
command on, for what goes to the site and what comes from it.`;

/** `exclave site limit`: how much of the link a site may take, and when. */
export function siteLimitCommand(terminal: Terminal): Command {
  return new Command("limit")
    .argument("<name>", "the site")
    .argument("<rule>", "speeds with hours, or unlimited")
    .description("say how much of the link a site may take, and when")
    .addHelpText("after", HELP)
    .action(async (name: string, rule: string) => {
      const { otherwise, spans } = parseBandwidth(rule, "the rule");
      const home = await openHome();
      const { bandwidth: _, ...site } = home.site(name);
      const isUnlimited = otherwise === undefined && spans.length === 0;
      const limited = isUnlimited ? site : { ...site, bandwidth: rule };
      await home.changeConfig((config) => ({
        ...config,
        sites: config.sites.map((one) => (one.name === name ? limited : one)),
      }));
      terminal.result({ site: limited }, [
        isUnlimited ? `Site ${name} may take all of the link.` : `Site ${name} may take: ${rule}.`,
      ]);
    });
}
