/** A State as its sites tell it, for who has no home: read whole, and verified, into a folder that goes away again. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Command } from "commander";
import { ExclaveError } from "../errors.ts";
import { type ReadState, readState } from "../governance/read-state.ts";
import { openGiven } from "../registers/state-from-sites.ts";
import { prepareHome } from "../vault/home.ts";
import type { SitePlace } from "../vault/open-sites.ts";
import { openHome } from "./context.ts";
import { type Told, toldBy } from "./decisions.ts";
import { collect } from "./flags.ts";
import type { Terminal } from "./terminal.ts";

export type AtSites = { readonly site: readonly string[]; readonly state?: string };

/** Gives a command `--site` and `--state`, which go together. */
export function addAtSites(command: Command): Command {
  return command
    .option(
      "--site <address>",
      "without a home: from this site: a directory, or https://host:port; several times",
      collect,
      [],
    )
    .option("--state <id>", "without a home: the State's id, as its founding said it");
}

/** Whether a command is to go by sites. Throws `usage` for half of what that takes. */
export function isAtSites(flags: AtSites): flags is AtSites & { readonly state: string } {
  if ((flags.state === undefined) !== (flags.site.length === 0)) {
    throw new ExclaveError("usage", "give --state ID and --site ADDRESS together, or neither");
  }
  return flags.state !== undefined;
}

/** What home tells of its State, or the sites that were named. Throws as `readState` does. */
export async function toldFor(terminal: Terminal, flags: AtSites): Promise<Told> {
  if (!isAtSites(flags)) return toldBy(await openHome());
  return withStateAtSites(terminal, flags, ({ known }) => ({ known }));
}

/** Reads the State and runs `work` with it; its logs are closed after that. Throws as `readState` does. */
export async function withStateAtSites<T>(
  terminal: Terminal,
  { state, site }: { readonly state: string; readonly site: readonly string[] },
  work: (read: ReadState, places: readonly SitePlace[]) => Promise<T> | T,
): Promise<T> {
  const id = state.toLowerCase();
  if (!/^[0-9a-f]{64}$/.test(id)) {
    throw new ExclaveError("usage", "--state takes the State's id: 64 digits and letters a to f");
  }
  const onNotice = (notice: string): void => terminal.notice(notice);
  const places = (await openGiven(site, id, onNotice)).map(({ place }) => place);
  const folder = await mkdtemp(join(tmpdir(), "exclave-read-"));
  try {
    await prepareHome(folder);
    const read = await readState(folder, id, places, onNotice);
    try {
      return await work(read, places);
    } finally {
      for (const { log } of read.generations) log.close();
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
