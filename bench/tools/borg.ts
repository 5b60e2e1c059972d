import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { run } from "../measure.ts";
import { type Tool, versionOf } from "./tool.ts";

/** With `repokey` or `repokey-blake2`: the first is the faster one where the CPU has SHA instructions. */
export const borg: Tool = {
  name: "borg",
  version: () => versionOf("borg"),
  found: (directory, corpus) => {
    const repository = join(directory, "repository");
    const out = join(directory, "out");
    const env = {
      BORG_REPO: repository,
      BORG_PASSPHRASE: "benchmark",
      BORG_BASE_DIR: join(directory, "base"),
    };
    run({ argv: ["borg", "init", "--encryption", "repokey"], env });
    mkdirSync(out);
    const create = (archive: string) =>
      ({
        argv: ["borg", "create", "--compression", "zstd,1", `::${archive}`, "."],
        env,
        cwd: corpus,
      }) as const;
    return {
      protect: create("first"),
      protectAgain: create("second"),
      restore: { argv: ["borg", "extract", "::second"], env, cwd: out },
      restored: out,
      stored: [repository],
      expansion: 1,
    };
  },
};
