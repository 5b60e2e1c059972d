import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { run } from "../measure.ts";
import { type Tool, versionOf } from "./tool.ts";

/** With repository format 2 and `--compression auto`, which is zstd at its default level. */
export const restic: Tool = {
  name: "restic",
  version: () => versionOf("restic", "version"),
  found: (directory, corpus) => {
    const repository = join(directory, "repository");
    const out = join(directory, "out");
    const env = {
      RESTIC_REPOSITORY: repository,
      RESTIC_PASSWORD: "benchmark",
      RESTIC_CACHE_DIR: join(directory, "cache"),
    };
    run({ argv: ["restic", "init", "--repository-version", "2"], env });
    mkdirSync(out);
    // A relative path, so that what is restored does not lie under the corpus's absolute path.
    const protect = {
      argv: ["restic", "backup", "--compression", "auto", "."],
      env,
      cwd: corpus,
    } as const;
    return {
      protect,
      protectAgain: protect,
      restore: { argv: ["restic", "restore", "latest", "--target", out], env },
      restored: out,
      stored: [repository],
      expansion: 1,
    };
  },
};
