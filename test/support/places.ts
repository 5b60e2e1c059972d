/** Places for tests: temporary folders and small disks, gone when the test is over. */
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";

/** A fresh folder, removed after the test. Its path has no links in it, so that paths can be compared. */
export function temporaryFolder(t: TestContext, parent = tmpdir()): string {
  const folder = realpathSync(mkdtempSync(join(parent, "exclave-test-")));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** A disk of its own, or why there cannot be one here. */
type SmallDisk =
  | {
      /** Where it is mounted, and the folder that this is in. */
      readonly path: string;
      readonly around: string;
      readonly readOnly: () => void;
    }
  | { readonly why: string };

/** Mounts a disk of so many bytes: a tmpfs, which needs root. It is gone after the test. */
export function mountSmall(t: TestContext, bytes: number): SmallDisk {
  if (process.platform !== "linux" || process.getuid?.() !== 0) {
    return { why: "a small disk can be mounted by root on Linux only" };
  }
  const around = realpathSync(mkdtempSync(join(tmpdir(), "exclave-disk-")));
  const path = join(around, "disk");
  mkdirSync(path);
  t.after(() => {
    // Lazily, so that a process that is still looking at it cannot keep it.
    spawnSync("umount", ["-l", path]);
    rmSync(around, { recursive: true, force: true });
  });
  const refused = mount("-t", "tmpfs", "-o", `size=${bytes},mode=0755`, "exclave-test", path);
  if (refused !== undefined) return { why: `no disk can be mounted here: ${refused}` };
  return {
    path,
    around,
    readOnly: () => {
      const why = mount("-o", "remount,ro", path);
      if (why !== undefined) throw new Error(why);
    },
  };
}

function mount(...args: readonly string[]): string | undefined {
  const { status, stderr, error } = spawnSync("mount", args, { encoding: "utf8" });
  return status === 0 ? undefined : (error?.message ?? stderr.trim());
}
