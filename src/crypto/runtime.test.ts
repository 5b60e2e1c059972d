import assert from "node:assert/strict";
import crypto from "node:crypto";
import { mock, test } from "node:test";
import { checkRuntime } from "./runtime.ts";

test("this runtime is fine", () => {
  assert.equal(checkRuntime(), undefined);
});

test("an older Node is refused by its version alone", () => {
  assert.match(
    checkRuntime("24.20.9") ?? "",
    /needs Node 24\.21 or newer, and this is Node 24\.20\.9/,
  );
  assert.match(checkRuntime("9.0.0") ?? "", /needs Node/);
  assert.match(checkRuntime("nonsense") ?? "", /needs Node/);
  assert.equal(checkRuntime("25.0.0"), undefined);
});

test("a build without ML-KEM is refused by that name", () => {
  const encapsulate = mock.method(crypto, "encapsulate", () => {
    throw new Error("unsupported");
  });
  assert.match(checkRuntime("26.0.0", "3.0.0") ?? "", /OpenSSL 3\.0\.0 lacks ML-KEM-1024;/);
  encapsulate.mock.restore();
  assert.equal(checkRuntime(), undefined);
});
