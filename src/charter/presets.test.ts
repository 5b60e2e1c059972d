import assert from "node:assert/strict";
import { test } from "node:test";
import { constitution, day, founding } from "../../test/support/charter.ts";
import { isExclaveError } from "../errors.ts";
import { writeCharter } from "./charter.ts";
import { applyOrder } from "./orders.ts";
import { constitutionOf, seatsOf } from "./presets.ts";

const enactment = { at: day("06-10"), decision: "88".repeat(32) };

test("every preset makes a sound constitution, and from each the next is one decision away", () => {
  const abroad = constitution.seats.map((seat) =>
    seat.name === "opposition" ? { ...seat, jurisdiction: "EE" } : seat,
  );
  const presets = (["trial", "pilot", "state"] as const).map((name) =>
    constitutionOf(name, abroad.slice(-seatsOf(name)), "BZ"),
  );
  let current = writeCharter({ ...founding.charter, constitution: presets[0]! });
  for (const next of presets.slice(1)) {
    current = applyOrder(current, { kind: "amend", constitution: next }, enactment);
    assert.deepEqual(current.charter.constitution, next);
  }
  const refused = (error: unknown): boolean => isExclaveError(error, "usage");
  assert.throws(() => constitutionOf("state", abroad.slice(1), "BZ"), refused);
  assert.throws(() => constitutionOf("state", constitution.seats, "BZ"), /2 seats abroad/);
});
