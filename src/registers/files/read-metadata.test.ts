import assert from "node:assert/strict";
import { test } from "node:test";
import { loadNative, type Native } from "../../platform/native.ts";
import { readXattrs } from "./read-metadata.ts";

const native = loadNative();
const skip = native === undefined ? "koffi is not installed here" : false;

/** A file system that answers as told. */
function nativeWith(names: readonly string[], getXattr: Native["getXattr"]): Native {
  const unused = () => assert.fail("not expected to be called");
  return {
    listXattrs: () => [...names],
    getXattr,
    setXattr: unused,
    utimensNs: unused,
    futimensNs: unused,
    chmodNoFollow: unused,
    mkfifo: unused,
    mknod: unused,
    seekData: unused,
    seekHole: unused,
    lstatx: unused,
    fstatx: unused,
  };
}

test("a file system without attributes has none, and a missing file is an error", { skip }, () => {
  assert.deepEqual(readXattrs("/proc/self/status", native), []);
  assert.throws(() => readXattrs("/does/not/exist", native), { code: "ENOENT" });
});

test("without the native module there are none", () => {
  assert.deepEqual(readXattrs("/etc/passwd", undefined), []);
});

test("an attribute that goes away after it was listed is left out", () => {
  const value = Uint8Array.of(1);
  const source = nativeWith(["user.b", "user.gone", "user.a"], (_path, name) => {
    if (name === "user.gone") throw Object.assign(new Error("ENODATA"), { code: "ENODATA" });
    return value;
  });
  assert.deepEqual(readXattrs("/f", source), [
    { name: "user.a", value },
    { name: "user.b", value },
  ]);
});

test("an entry with more than a mebibyte of attributes is refused", () => {
  const names = Array.from({ length: 17 }, (_, i) => `user.${i}`);
  const source = nativeWith(names, () => new Uint8Array(65_536));
  assert.throws(() => readXattrs("/f", source), { code: "E2BIG" });
});
