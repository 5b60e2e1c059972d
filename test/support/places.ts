/** Places for tests: temporary folders and small disks, gone when the test is over. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, realpathSync, rmdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";

/** A fresh folder, removed after the test. Its path has no links in it, so that paths can be compared. */
export function temporaryFolder(t: TestContext): string {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), "exclave-test-")));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** A disk of its own, or why there cannot be one here. */
export type SmallDisk =
  | { readonly path: string; readonly readOnly: () => void }
  | { readonly why: string };

/** Mounts a disk of so many bytes, at an existing folder when one is given: a tmpfs, which needs root. */
export function mountSmall(t: TestContext, bytes: number, at?: string): SmallDisk {
  if (process.platform !== "linux" || process.getuid?.() !== 0) {
    return { why: "a small disk can be mounted by root on Linux only" };
  }
  const path = at ?? realpathSync(mkdtempSync(join(tmpdir(), "exclave-disk-")));
  const mounted = mount("-t", "tmpfs", "-o", `size=${bytes},mode=0700`, "exclave-test", path);
  if (mounted !== undefined) {
    if (at === undefined) rmdirSync(path);
    return { why: `no disk can be mounted here: ${mounted}` };
  }
  t.after(() => {
    // Lazily, so that a process that is still looking at it cannot keep it.
    spawnSync("umount", ["-l", path]);
    if (at === undefined) rmdirSync(path);
  });
  return {
    path,
    readOnly: () => {
      const refused = mount("-o", "remount,ro", path);
      if (refused !== undefined) throw new Error(refused);
    },
  };
}

function mount(...args: readonly string[]): string | undefined {
  const { status, stderr, error } = spawnSync("mount", args, { encoding: "utf8" });
  return status === 0 ? undefined : (error?.message ?? stderr.trim());
}
