import {
  closeSync,
  fstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { type Command, run } from "../measure.ts";
import type { Tool } from "./tool.ts";

const checkout = join(import.meta.dirname, "../..");
const SITES = ["bb", "kn", "lu", "ee", "ca"] as const;
const LOST = ["bb", "ca"] as const;
const THRESHOLD = 3;

/** This checkout, on the Node that runs the benchmark: 3-of-5 over five directories of one disk. */
export const exclave: Tool = {
  name: "exclave",
  version: () => {
    const { version }: { version: string } = JSON.parse(
      readFileSync(join(checkout, "package.json"), "utf8"),
    );
    const commit = run({ argv: ["git", "describe", "--always", "--dirty"], cwd: checkout }).trim();
    return `exclave ${version} (${commit})`;
  },
  found: (directory, corpus) => {
    const passphrase = join(directory, "passphrase");
    const sitePath = (code: string) => join(directory, `site-${code}`);
    const out = join(directory, "out");
    const command = (...args: string[]): Command => ({
      argv: [process.execPath, join(checkout, "bin/exclave"), ...args],
      env: { EXCLAVE_HOME: join(directory, "home") },
    });
    writeFileSync(passphrase, "benchmark benchmark benchmark\n");
    const key = join(directory, "recovery.age");
    const open = ["--passphrase-file", passphrase];
    run(command("found", "--state", "Benchmark", ...open, "--recovery-key", key));
    for (const code of SITES) {
      run(
        command(
          "site",
          "add",
          code,
          "--country",
          code.toUpperCase(),
          "--directory",
          sitePath(code),
        ),
      );
    }
    const placement = ["--sites", SITES.join(","), "--threshold", String(THRESHOLD)];
    run(command("register", "add", "corpus", "--kind", "files", "--path", corpus, ...placement));
    return {
      protect: command("protect", "corpus"),
      protectAgain: command("protect", "corpus"),
      beforeRestore: () => {
        mkdirSync(join(directory, "lost"));
        for (const code of LOST) renameSync(sitePath(code), join(directory, "lost", code));
      },
      restore: command("restore", "corpus", "--to", out),
      restored: out,
      stored: SITES.map(sitePath),
      expansion: SITES.length / THRESHOLD,
      dispersalOverhead: () =>
        overheadOfFullPacks(SITES.map((code) => join(sitePath(code), "shard"))),
    };
  },
};

/** How much longer the shards of the largest packs are than the k-th part of their packs. */
function overheadOfFullPacks(directories: readonly string[]): number {
  const shards = directories.flatMap((directory) =>
    readdirSync(directory, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => readShardLengths(join(entry.parentPath, entry.name))),
  );
  const fullBytes = Math.max(...shards.map(({ packBytes }) => packBytes));
  const full = shards.filter(({ packBytes }) => packBytes === fullBytes);
  const sum = (lengths: readonly number[]) => lengths.reduce((total, length) => total + length, 0);
  const pieces = full.map(({ packBytes, k }) => packBytes / k);
  return sum(full.map(({ bytes }) => bytes)) / sum(pieces) - 1;
}

/** From the shard's header: docs/format.md, "Shard". */
function readShardLengths(path: string): { bytes: number; packBytes: number; k: number } {
  const file = openSync(path, "r");
  try {
    const header = Buffer.alloc(96);
    readSync(file, header);
    const packBytes = Number(header.readBigUInt64LE(88));
    return { bytes: fstatSync(file).size, packBytes, k: header.readUInt8(11) };
  } finally {
    closeSync(file);
  }
}
