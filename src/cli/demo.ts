import { mkdirSync, mkdtempSync, readdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { env, stderr, stdin, stdout } from "node:process";
import { Command, Option } from "commander";
import { ExclaveError } from "../errors.ts";
import { removeTree, stoppable } from "./clean-up.ts";
import { askForLosses, defaultLosses } from "./demo/disaster.ts";
import { demoSizes, type RegisterSizes } from "./demo/registers.ts";
import { SiteProcesses } from "./demo/site-processes.ts";
import { startSites } from "./demo/sites.ts";
import { pathsIn, type Stage, showStep } from "./demo/stage.ts";
import { tellStory } from "./demo/story.ts";
import { requireRoom } from "./disk.ts";
import { EXIT } from "./exit-codes.ts";
import type { MakeCommand } from "./main.ts";
import { newPage } from "./page.ts";

const HELP = `
Every host country is a process of its own, \`exclave site serve\`, which is ended with the demo.
EXCLAVE_DEMO_S3=FILE has one of them store in an S3 engine; FILE is as for \`site init --s3\`.`;

const SEED = 20_260_316;
/** About 250 MB at its highest: originals, restored copy, sites and homes together; and some to spare. */
const ROOM_BYTES = 400e6;

export const demoCommand: MakeCommand = (terminal, setExit) =>
  new Command("demo")
    .description("the whole story on this machine, with invented registers: lost, and back again")
    .addHelpText("after", HELP)
    .option("--yes", "ask nothing: the first two sites are lost", false)
    .option("--dir <dir>", "play in this new or empty directory, and keep it")
    .addOption(
      new Option("--scale <share>", "a share of the records, for tests")
        .argParser(share)
        .default(1)
        .hideHelp(),
    )
    .action(async (flags: DemoFlags) => {
      const keep = flags.dir !== undefined;
      const asks =
        !flags.yes && !terminal.json && stdin.isTTY && stdout.isTTY === true && stderr.isTTY;
      let root: string | undefined;
      const processes = new SiteProcesses();
      const cleanUp = (): void => {
        processes.killNow();
        if (root !== undefined && !keep) removeTree(root);
      };
      try {
        await stoppable(terminal, cleanUp, async () => {
          root = makeRoot(flags.dir, flags.scale);
          const page = newPage(terminal);
          page.heading("Exclave: how a State's registers survive the loss of the State's home");
          const paths = pathsIn(root);
          const sites = await startSites({ paths, processes }, engineFile());
          const stage: Stage = { terminal, page, paths, processes, sites, timings: [] };
          const report = await tellStory(stage, {
            seed: SEED,
            sizes: scaled(flags.scale),
            chooseLosses: asks ? askForLosses : async () => defaultLosses,
          });
          await processes.stopAll();
          if (!report.good) setExit(EXIT.failed);
          terminal.result(report, keep ? [`  Everything is kept in ${root}.`] : []);
          if (!keep) showStep(stage, "clearing up");
        });
      } finally {
        cleanUp();
      }
    });

type DemoFlags = {
  readonly yes: boolean;
  readonly dir?: string;
  readonly scale: number;
};

/** Says how an S3 engine is reached, where the reader has one. */
function engineFile(): string | undefined {
  const file = env.EXCLAVE_DEMO_S3;
  return file === undefined || file === "" ? undefined : resolve(file);
}

/** Where the demo plays: a temporary directory, or the new or empty one that was given. */
function makeRoot(dir: string | undefined, scale: number): string {
  const parent = dir === undefined ? tmpdir() : resolve(dir);
  requireRoom(parent, ROOM_BYTES * scale, "the demo", "give --dir DIR on another disk");
  if (dir === undefined) return mkdtempSync(join(parent, "exclave-demo-"));
  mkdirSync(parent, { recursive: true });
  if (readdirSync(parent).length === 0) return parent;
  throw new ExclaveError("usage", `${parent} is not empty. Nothing was changed; give a new one`);
}

/** A year must not be without a birth, so a small share still has some hundred. */
function scaled(share: number): RegisterSizes {
  const of = (count: number, least: number): number => Math.max(least, Math.round(count * share));
  return {
    births: of(demoSizes.births, 400),
    marriages: of(demoSizes.marriages, 200),
    deaths: of(demoSizes.deaths, 200),
    identities: of(demoSizes.identities, 400),
    titles: of(demoSizes.titles, 100),
    scans: of(demoSizes.scans, 3),
  };
}

function share(text: string): number {
  const value = Number(text);
  if (value > 0 && value <= 1) return value;
  throw new ExclaveError("usage", `--scale takes a share above 0 and up to 1, not ${text}`);
}
