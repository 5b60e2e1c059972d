import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Tool, versionOf } from "./tool.ts";

/** One archive: no deduplication, no integrity protection, no fsync. The floor to be measured against. */
export const tarPipeline: Tool = {
  name: "tar|zstd|openssl",
  version: () => {
    const versions = [versionOf("tar"), versionOf("zstd"), versionOf("openssl", "version")];
    return versions.includes(undefined) ? undefined : versions.join("; ");
  },
  found: (directory, corpus) => {
    const out = join(directory, "out");
    const stored = join(directory, "archive");
    mkdirSync(out);
    mkdirSync(stored);
    writeFileSync(join(directory, "passphrase"), "benchmark\n");
    const env = { CORPUS: corpus, OUT: out, ARCHIVE: join(stored, "tar.zst.aes") };
    const cipher = `openssl enc -aes-256-ctr -pbkdf2 -pass file:'${join(directory, "passphrase")}'`;
    const shell = (script: string) =>
      ({ argv: ["bash", "-c", `set -o pipefail; ${script}`], env }) as const;
    return {
      protect: shell(`tar -C "$CORPUS" -cf - . | zstd -q -3 -T2 | ${cipher} > "$ARCHIVE"`),
      restore: shell(`${cipher} -d < "$ARCHIVE" | zstd -q -dc | tar -C "$OUT" -xpf -`),
      restored: out,
      stored: [stored],
      expansion: 1,
    };
  },
};
