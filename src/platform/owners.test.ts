import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { loadOwnerNames } from "./owners.ts";

test("the first line for an id or a name counts, and lines without a number are passed over", () => {
  const directory = mkdtempSync(join(tmpdir(), "exclave-owners-"));
  try {
    const passwd = `${directory}/passwd`;
    const group = `${directory}/group`;
    writeFileSync(
      passwd,
      "root:x:0:0::/:/bin/sh\ntoor:x:0:0::/:\n+@nis::::::\nbad:x:no:\n#c:x:7:\n",
    );
    writeFileSync(group, "registry:x:900:ana,bo\nregistry:x:901:\n\n");
    const owners = loadOwnerNames(passwd, group);
    assert.equal(owners.userName(0), "root");
    assert.equal(owners.uidOf("toor"), 0);
    assert.equal(owners.uidOf("bad"), undefined);
    assert.equal(owners.userName(7), undefined);
    assert.equal(owners.uidOf("registry"), undefined);
    assert.equal(owners.gidOf("registry"), 900);
    assert.equal(owners.groupName(901), "registry");
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test("a machine without the files knows no names", () => {
  const owners = loadOwnerNames("/does/not/exist", "/does/not/exist");
  assert.equal(owners.userName(0), undefined);
  assert.equal(owners.gidOf("root"), undefined);
});
