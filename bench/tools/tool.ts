import { spawnSync } from "node:child_process";
import type { Command } from "../measure.ts";

export type Tool = {
  readonly name: string;
  /** One line a program, or undefined when it is not installed. */
  readonly version: () => string | undefined;
  /**
   * A fresh repository in `directory`, an empty one that only this tool uses.
   *
   * @param corpus what will be protected
   */
  readonly found: (directory: string, corpus: string) => Repository;
};

/** A repository that is ready, and the commands to measure. */
export type Repository = {
  readonly protect: Command;
  /** Absent where a second run is the same as the first. */
  readonly protectAgain?: Command;
  /** What happens between the two, unmeasured: sites are lost, say. */
  readonly beforeRestore?: () => void;
  readonly restore: Command;
  /** Where `restore` puts the corpus. */
  readonly restored: string;
  /** What is kept, caches at home not counted. */
  readonly stored: readonly string[];
  /** How much more is stored than one copy, as this tool disperses: n / k; 1 for all the others. */
  readonly expansion: number;
  /** What is stored beyond n / k on full packs, as a fraction. */
  readonly dispersalOverhead?: () => number;
};

/** What the program prints about its version, on one line, or undefined when it is not there. */
export function versionOf(program: string, argument = "--version"): string | undefined {
  const { status, stdout } = spawnSync(program, [argument], { encoding: "utf8" });
  if (status !== 0) return undefined;
  return stdout
    .split("\n", 1)[0]
    ?.replaceAll(/\*+|\(Library.*\)/g, "")
    .trim();
}
