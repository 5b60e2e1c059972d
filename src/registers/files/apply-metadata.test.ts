import assert from "node:assert/strict";
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { toFsPath } from "../../platform/names.ts";
import { loadNative } from "../../platform/native.ts";
import { loadOwnerNames, type OwnerNames } from "../../platform/owners.ts";
import type { EntryMetadata } from "./apply-metadata.ts";
import { type ApplyOptions, applyMetadata, createSpecial } from "./apply-metadata.ts";
import { readLinkTarget, readXattrs } from "./read-metadata.ts";
import { lstatFile } from "./stat.ts";

const native = loadNative();
const isRoot = process.geteuid?.() === 0;
const owners = loadOwnerNames();
const noNative = native === undefined ? "koffi is not installed here" : false;
const noRoot = isRoot ? noNative : "only root may do this";
const noXattrs = noNative || xattrsMissing();

function xattrsMissing(): string | false {
  return inDirectory((directory) => {
    try {
      writeFileSync(`${directory}/f`, "");
      native?.setXattr(`${directory}/f`, "user.exclave", Buffer.from("x"));
      return false;
    } catch (error) {
      return `no user.* attributes in ${directory}: ${String(error)}`;
    }
  });
}

function inDirectory<T>(body: (directory: string) => T): T {
  const directory = mkdtempSync(join(tmpdir(), "exclave-meta-"));
  try {
    return body(directory);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

function entryWith(changed: Partial<EntryMetadata> = {}): EntryMetadata {
  return {
    kind: "file",
    mode: 0o640,
    uid: process.geteuid?.() ?? 0,
    gid: process.getegid?.() ?? 0,
    mtimeSec: 1_700_000_000,
    mtimeNsec: 123_456_789,
    xattrs: [],
    ...changed,
  };
}

function optionsWith(changed: Partial<ApplyOptions> = {}): ApplyOptions {
  return { native, owners, asRoot: isRoot, numericOwner: false, ...changed };
}

function fileIn(directory: string, name = "file"): string {
  writeFileSync(toFsPath(`${directory}/${name}`), "content", { mode: 0o600 });
  return `${directory}/${name}`;
}

test("times keep their nanoseconds, before 1970 and after 2038", { skip: noNative }, () => {
  inDirectory((directory) => {
    const path = fileIn(directory, "t\xff\n");
    for (const [mtimeSec, mtimeNsec] of [
      [1_700_000_000, 123_456_789],
      [0, 1],
      [-86_400, 999_999_999],
      [4_294_967_296, 5],
    ] as const) {
      assert.deepEqual(applyMetadata(path, entryWith({ mtimeSec, mtimeNsec }), optionsWith()), []);
      const stat = lstatFile(path, native);
      assert.deepEqual([stat.mtimeSec, stat.mtimeNsec], [mtimeSec, mtimeNsec]);
    }
  });
});

test("without the native module mode and times are kept as well as Node can", () => {
  inDirectory((directory) => {
    const path = fileIn(directory);
    const options = optionsWith({ native: undefined });
    assert.deepEqual(applyMetadata(path, entryWith({ mode: 0o444, mtimeSec: -5 }), options), []);
    const stat = lstatFile(path, undefined);
    assert.equal(stat.mode, 0o444);
    assert.equal(stat.mtimeSec, -5);
    const xattrs = [{ name: "user.a", value: new Uint8Array(1) }];
    assert.match(applyMetadata(path, entryWith({ xattrs }), options).join(), /koffi/);
  });
});

test("extended attributes come back byte for byte, sorted", { skip: noXattrs }, () => {
  inDirectory((directory) => {
    const xattrs = [
      { name: "user.a", value: new Uint8Array() },
      { name: "user.b\xff", value: Uint8Array.of(0, 255, 10, 0) },
      { name: "user.c", value: new Uint8Array(3000).fill(7) },
    ];
    const path = fileIn(directory);
    assert.deepEqual(readXattrs(path, native), []);
    // Read-only in the end, and still with all its attributes: they come before the mode.
    const entry = entryWith({ mode: 0o444, xattrs: xattrs.toReversed() });
    assert.deepEqual(applyMetadata(path, entry, optionsWith()), []);
    assert.deepEqual(readXattrs(path, native), xattrs);
    assert.equal(lstatFile(path, native).mode, 0o444);
  });
});

test("POSIX ACLs survive together with the mode", { skip: noXattrs }, (t) => {
  inDirectory((directory) => {
    const from = fileIn(directory, "from");
    const to = fileIn(directory, "to");
    // Version 2; owner rw-, user 12345 r--, group r--, mask r--, others ---; ids only where named.
    const entries = [
      [1, 6, 0xffffffff],
      [2, 4, 12345],
      [4, 4, 0xffffffff],
      [16, 4, 0xffffffff],
      [32, 0, 0xffffffff],
    ] as const;
    const acl = Buffer.alloc(4 + entries.length * 8);
    acl.writeUInt32LE(2, 0);
    for (const [i, [tag, permissions, id]] of entries.entries()) {
      acl.writeUInt16LE(tag, 4 + i * 8);
      acl.writeUInt16LE(permissions, 6 + i * 8);
      acl.writeUInt32LE(id, 8 + i * 8);
    }
    try {
      native?.setXattr(from, "system.posix_acl_access", acl);
    } catch (error) {
      t.skip(`no ACLs here: ${String(error)}`);
      return;
    }
    const xattrs = readXattrs(from, native);
    const { mode } = lstatFile(from, native);
    assert.deepEqual(
      xattrs.map((xattr) => xattr.name),
      ["system.posix_acl_access"],
    );
    assert.deepEqual(applyMetadata(to, entryWith({ mode, xattrs }), optionsWith()), []);
    assert.deepEqual(readXattrs(to, native), xattrs);
    assert.equal(lstatFile(to, native).mode, mode);
  });
});

test("attributes that are refused are one warning a family, and the rest is kept", {
  skip: noXattrs,
}, () => {
  inDirectory((directory) => {
    const path = fileIn(directory);
    const value = Uint8Array.of(1);
    const xattrs = ["nonsense.a", "nonsense.b", "user.kept"].map((name) => ({ name, value }));
    const warnings = applyMetadata(path, entryWith({ xattrs }), optionsWith());
    assert.equal(warnings.length, 1);
    assert.match(warnings[0] ?? "", /nonsense\.\*.*ENOTSUP/);
    assert.deepEqual(readXattrs(path, native), [{ name: "user.kept", value }]);
  });
});

test("chown comes before chmod, so set-user-ID survives it", { skip: noRoot }, () => {
  inDirectory((directory) => {
    const path = fileIn(directory);
    assert.deepEqual(
      applyMetadata(path, entryWith({ uid: 12345, gid: 54321, mode: 0o6755 }), optionsWith()),
      [],
    );
    const stat = lstatFile(path, native);
    assert.deepEqual([stat.uid, stat.gid, stat.mode], [12345, 54321, 0o6755]);
  });
});

test("an owner goes by name when this machine knows the name", { skip: noRoot }, () => {
  inDirectory((directory) => {
    const path = fileIn(directory);
    const known: OwnerNames = {
      userName: () => undefined,
      groupName: () => undefined,
      uidOf: (name) => (name === "registrar" ? 4001 : undefined),
      gidOf: () => undefined,
    };
    const entry = entryWith({
      uid: 1001,
      gid: 1002,
      userName: "registrar",
      groupName: "elsewhere",
    });
    const ownerAfter = (numericOwner: boolean) => {
      applyMetadata(path, entry, optionsWith({ owners: known, numericOwner }));
      const { uid, gid } = lstatFile(path, native);
      return [uid, gid];
    };
    assert.deepEqual(ownerAfter(false), [4001, 1002]);
    assert.deepEqual(ownerAfter(true), [1001, 1002]);
  });
});

test("without root the owner quietly stays, and no power of the old owner is lent", () => {
  inDirectory((directory) => {
    const path = fileIn(directory);
    const entry = entryWith({ uid: 54321, mode: 0o4755 });
    const warnings = applyMetadata(path, entry, optionsWith({ asRoot: false }));
    assert.equal(warnings.length, 1);
    assert.match(warnings[0] ?? "", /set-user-ID/);
    const stat = lstatFile(path, native);
    assert.deepEqual([stat.uid, stat.mode], [process.geteuid?.(), 0o755]);
  });
});

test("an unprivileged process restores what it can and fails at nothing", { skip: noRoot }, () => {
  inDirectory((directory) => {
    chmodSync(directory, 0o777);
    const seteuid = process.seteuid;
    const setegid = process.setegid;
    assert.ok(seteuid !== undefined && setegid !== undefined);
    setegid(65534);
    seteuid(65534);
    try {
      const path = fileIn(directory);
      const xattrs = [
        { name: "security.capability", value: new Uint8Array(20) },
        { name: "trusted.x", value: new Uint8Array(1) },
      ];
      const entry = entryWith({ uid: 0, gid: 0, mode: 0o400, xattrs });
      const warnings = applyMetadata(path, entry, optionsWith({ asRoot: false }));
      assert.equal(warnings.length, 2, warnings.join("; "));
      assert.equal(lstatFile(path, native).mode, 0o400);
      assert.equal(lstatFile(path, native).mtimeNsec, 123_456_789);
      const device = { kind: "char-device", rdevMajor: 1, rdevMinor: 3 } as const;
      assert.match(createSpecial(`${directory}/null`, device, native) ?? "", /EPERM/);
      assert.equal(createSpecial(`${directory}/fifo`, { kind: "fifo" }, native), undefined);
    } finally {
      seteuid(0);
      setegid(0);
    }
  });
});

test("metadata of a symbolic link never reaches its target", { skip: noNative }, () => {
  inDirectory((directory) => {
    const target = fileIn(directory, "target");
    const before = lstatFile(target, native);
    const link = `${directory}/link`;
    symlinkSync("target", link);
    const entry = entryWith({ kind: "symlink", mode: 0o777, uid: isRoot ? 777 : entryWith().uid });
    assert.deepEqual(applyMetadata(link, entry, optionsWith()), []);
    assert.equal(lstatFile(link, native).mtimeNsec, 123_456_789);
    assert.deepEqual(lstatFile(target, native), before);
    // A file's metadata on a link that somebody put in its place is refused, not passed through.
    for (const calls of [native, undefined]) {
      assert.throws(() =>
        applyMetadata(link, entryWith({ mode: 0o666 }), optionsWith({ native: calls })),
      );
      assert.deepEqual(lstatFile(target, native), before);
    }
  });
});

test("a link's target is bytes", () => {
  inDirectory((directory) => {
    const path = `${directory}/l\xe9`;
    const linkTarget = "../\xff/no\nwhere";
    assert.equal(createSpecial(path, { kind: "symlink", linkTarget }, native), undefined);
    assert.equal(readLinkTarget(path), linkTarget);
    assert.deepEqual(readlinkSync(toFsPath(path), "buffer"), Buffer.from(linkTarget, "latin1"));
    assert.throws(() => createSpecial(path, { kind: "symlink", linkTarget }, native), {
      code: "EEXIST",
    });
  });
});

test("fifos are made, and sockets are left to their programs", { skip: noNative }, () => {
  inDirectory((directory) => {
    const path = `${directory}/fifo`;
    assert.equal(createSpecial(path, { kind: "fifo" }, native), undefined);
    const entry = entryWith({ kind: "fifo", mode: 0o622 });
    assert.deepEqual(applyMetadata(path, entry, optionsWith()), []);
    const stat = lstatFile(path, native);
    assert.deepEqual([stat.kind, stat.mode, stat.mtimeNsec], ["fifo", 0o622, 123_456_789]);
    assert.match(createSpecial(`${directory}/s`, { kind: "socket" }, native) ?? "", /socket/);
    assert.match(createSpecial(`${directory}/f`, { kind: "fifo" }, undefined) ?? "", /koffi/);
  });
});

test("device nodes come back with their numbers", { skip: noRoot }, (t) => {
  inDirectory((directory) => {
    for (const kind of ["char-device", "block-device"] as const) {
      const path = `${directory}/${kind}`;
      const problem = createSpecial(path, { kind, rdevMajor: 259, rdevMinor: 70_000 }, native);
      if (problem !== undefined) return t.skip(problem);
      assert.deepEqual(applyMetadata(path, entryWith({ kind }), optionsWith()), []);
      for (const calls of [native, undefined]) {
        const stat = lstatFile(path, calls);
        assert.deepEqual([stat.kind, stat.rdevMajor, stat.rdevMinor], [kind, 259, 70_000]);
      }
    }
  });
});

test("a directory's mode and times are kept", { skip: noNative }, () => {
  inDirectory((directory) => {
    const path = `${directory}/sub`;
    mkdirSync(path, { mode: 0o700 });
    assert.deepEqual(
      applyMetadata(path, entryWith({ kind: "directory", mode: 0o1755 }), optionsWith()),
      [],
    );
    const stat = lstatFile(path, native);
    assert.deepEqual([stat.mode, stat.mtimeSec], [0o1755, 1_700_000_000]);
  });
});
