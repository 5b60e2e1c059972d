/** Where the demo plays: its directories, its clock, and how it speaks. */
import { join } from "node:path";
import type { ProtectProgress } from "../../registers/protect.ts";
import type { RestoreProgress } from "../../registers/restore.ts";
import { formatBytes, formatCount, plural } from "../format.ts";
import type { Page } from "../page.ts";
import type { Terminal } from "../terminal.ts";
import type { Host } from "./hosts.ts";
import type { SiteProcesses } from "./site-processes.ts";
import type { DemoSites } from "./sites.ts";

export const registerNames = ["civil-status", "national-identity", "land-titles"] as const;
export type RegisterName = (typeof registerNames)[number];

export type Stage = {
  readonly terminal: Terminal;
  readonly page: Page;
  readonly paths: Paths;
  readonly processes: SiteProcesses;
  readonly sites: DemoSites;
  readonly timings: { readonly part: string; readonly seconds: number }[];
};

export type Paths = {
  readonly root: string;
  /** $EXCLAVE_HOME before the disaster, and the registers, on the machines that are lost. */
  readonly home: string;
  readonly registers: string;
  /** The ceremony's, until everybody has left the room. */
  readonly ceremony: string;
  /** A folder for each key holder, a key file for each seat, and what goes to who watches abroad. */
  readonly keyHolders: string;
  readonly seats: string;
  readonly abroad: string;
  /** $EXCLAVE_HOME after it, what is restored, and the one record that is fetched first. */
  readonly newHome: string;
  readonly restored: string;
  readonly desk: string;
  /** The originals, kept aside for nothing but the comparison. */
  readonly originals: string;
  /** Home and registers of the State that hosts here. */
  readonly neighbour: string;
  /** The home that is thought lost, and returns in the end. */
  readonly oldHome: string;
};

export function pathsIn(root: string): Paths {
  return {
    root,
    home: join(root, "capital", "home"),
    registers: join(root, "capital", "registers"),
    ceremony: join(root, "ceremony"),
    keyHolders: join(root, "key-holders"),
    seats: join(root, "seats"),
    abroad: join(root, "abroad"),
    newHome: join(root, "bare-machine", "home"),
    restored: join(root, "bare-machine", "registers"),
    desk: join(root, "bare-machine", "desk"),
    originals: join(root, "kept-aside"),
    neighbour: join(root, "neighbour"),
    oldHome: join(root, "kept-aside", "home"),
  };
}

/** The folder of a site, which its host country has before it. */
export function sitePath({ root }: Pick<Paths, "root">, { site }: Pick<Host, "site">): string {
  return join(root, "sites", site);
}

/** Where a site without an engine keeps the objects of a State. */
export function objectsPath(
  paths: Pick<Paths, "root">,
  host: Pick<Host, "site">,
  state: string,
): string {
  return join(sitePath(paths, host), "states", state, "objects");
}

/** Runs a part of the story and keeps how long it took. */
export async function timed<T>(
  stage: Stage,
  part: string,
  work: () => T | Promise<T>,
): Promise<{ readonly value: T; readonly seconds: number }> {
  const startedMs = performance.now();
  const value = await work();
  const seconds = (performance.now() - startedMs) / 1000;
  stage.timings.push({ part, seconds });
  return { value, seconds };
}

export function showProtect(stage: Stage, register: string): (progress: ProtectProgress) => void {
  return (progress) =>
    stage.terminal.progress(
      { step: "protect", register, ...progress },
      () =>
        `  protecting ${register}: ${plural(progress.files, "file")}, ` +
        `${formatBytes(progress.bytes)}`,
    );
}

export function showRestore(stage: Stage, register: string): (progress: RestoreProgress) => void {
  return (progress) =>
    stage.terminal.progress(
      { step: "restore", register, ...progress },
      () =>
        `  restoring ${register}: ${formatCount(progress.files)} of ` +
        `${formatCount(progress.filesTotal)} files, ${formatBytes(progress.bytes)}`,
    );
}

/** A live line for work that cannot say how far it is. */
export function showStep(stage: Stage, step: string): void {
  stage.terminal.progress({ step }, () => `  ${step} …`);
}
