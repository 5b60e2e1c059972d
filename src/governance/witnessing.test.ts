/** Witnesses that answer late, twice, wrongly or with lies: what home takes from them, and what stops it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { folder, witnessedState } from "../../test/support/attacks.ts";
import type { Embassy } from "../../test/support/embassy.ts";
import { ExclaveError } from "../errors.ts";
import { checkpointName } from "../ledger/at-sites.ts";
import { signCheckpoint } from "../ledger/checkpoint.ts";
import { logKeyFromSeed } from "../ledger/log-key.ts";
import type { TreeHead } from "../ledger/tree-head.ts";
import { addCheckpoint, parseAddCheckpoint, type WitnessStore } from "../ledger/witness.ts";
import type { RemoteSite, WitnessAnswer } from "../sites/remote.ts";
import { askWitnesses, witnessNeeds } from "./witnessing.ts";

type Objects = ReadonlyMap<string, Uint8Array>;
type Ask = (body: Uint8Array) => WitnessAnswer;

const status = (code: number): WitnessAnswer => ({
  status: code,
  contentType: "text/plain; charset=utf-8",
  body: Buffer.from("no\n"),
});
const conflict = (size: number): WitnessAnswer => ({
  status: 409,
  contentType: "text/x.tlog.size",
  body: Buffer.from(`${size}\n`),
});
const oldSizeIn = (body: Uint8Array): number => parseAddCheckpoint(body).oldSize;

/** A State with three witnesses, none of which has been asked. */
async function state(): Promise<Embassy> {
  const s = await (await witnessedState()).copy(folder());
  await grow(s, 1);
  return s;
}

/** So many more entries, each under a checkpoint of its own. */
async function grow(s: Embassy, more: number): Promise<void> {
  await s.home.withLedger((log) => {
    for (let i = 0; i < more; i++) {
      log.append([{ kind: "statement", envelope: log.size.toString(16).padStart(64, "0") }]);
      log.sign(s.day(log.size));
    }
  });
}

async function headOf(s: Embassy, size?: number): Promise<TreeHead> {
  return s.home.withLedger((log) => log.head(size));
}

/** The site of a witness: how it answers, and what lies there. */
function place(name: string, answer: Ask, objects: Objects = new Map()) {
  const absent = (): never => {
    throw new ExclaveError("not-found", "there is nothing of this here");
  };
  const site: RemoteSite = {
    identity: { name, country: "LU", operator: name, hazardZone: "LU" },
    key: undefined as never,
    put: async () => absent(),
    read: async (object, offset, into) => {
      const bytes = objects.get(object)?.subarray(offset, offset + into.length) ?? absent();
      into.set(bytes);
      return bytes.length;
    },
    stat: async (object) => {
      const bytes = objects.get(object);
      return bytes && { name: object, bytes: bytes.length };
    },
    async *list(kind) {
      for (const object of objects.keys()) if (object.startsWith(`${kind}/`)) yield object;
    },
    receipts: async () => absent(),
    status: async () => absent(),
    addCheckpoint: async (body) => answer(body),
    close: async () => undefined,
  };
  return { name, site };
}

/** What the honest witness answers, which remembers what it cosigned. */
async function honest(
  s: Embassy,
  index: number,
  store: WitnessStore = s.watch[index]!.store,
): Promise<Ask> {
  const { key } = s.watch[index]!;
  const keys = await s.home.withLedger((log) => log.keys);
  return (body) => {
    const logs = new Map([[s.home.charter.ledger.origin, keys]]);
    const answer = addCheckpoint({ key, logs, store }, body, s.day(3).getTime() / 1000);
    if (answer.status === 200) return { ...status(200), body: answer.cosignatures };
    return answer.status === 409 ? conflict(answer.size) : status(answer.status);
  };
}

const ONE = "witness-one";
const TWO = "witness-two";

/** Asks with this as the first witness, and an honest second. */
async function ask(s: Embassy, first: Ask, objects?: Objects) {
  const places = [place(ONE, first, objects), place(TWO, await honest(s, 1))];
  const witnessed = await askWitnesses(s.home, places);
  assert.ok(witnessed);
  return witnessed;
}

const isDoubted = async (s: Embassy): Promise<boolean> =>
  (await witnessNeeds(s.home)).some((need) => need.startsWith(`witness ${ONE} `));

/** The home goes on without the first witness's word, keeps the second's, and people hear what was said. */
async function assertGoesOn(s: Embassy, first: Ask, says: RegExp, objects?: Objects) {
  const { by, failures, cosigned } = await ask(s, first, objects);
  assert.deepEqual(by, [TWO]);
  assert.match(failures.get(ONE) ?? "", says);
  assert.ok(cosigned, "the other witness's word is kept");
  const needs = await witnessNeeds(s.home);
  assert.equal(needs.filter((need) => says.test(need)).length, 1, needs.join("; "));
}

test("a witness is asked from what it cosigned last, as home knows, with one question", async () => {
  const s = await state();
  const sizes: number[] = [];
  const witness = await honest(s, 0);
  const counting: Ask = (body) => {
    sizes.push(oldSizeIn(body));
    return witness(body);
  };
  assert.deepEqual((await ask(s, counting)).by, [ONE, TWO]);
  const { size } = await headOf(s);
  await grow(s, 200);
  assert.deepEqual((await ask(s, counting)).by, [ONE, TWO]);
  assert.deepEqual(sizes, [0, size]);
});

test("a question that is sent twice, because its answer was lost, is no fork", async () => {
  const s = await state();
  const witness = await honest(s, 0);
  const twice: Ask = (body) => {
    witness(body);
    return witness(body);
  };
  assert.deepEqual((await ask(s, twice)).by, [ONE, TWO]);
  await grow(s, 2);
  assert.deepEqual((await ask(s, twice)).by, [ONE, TWO]);
  assert.equal(await isDoubted(s), false);
});

test("other processes that have a witness cosign meanwhile are no fork", async () => {
  const s = await state();
  await grow(s, 3);
  const { size } = await headOf(s);
  const witness = await honest(s, 0);
  const at: number[] = [];
  const busy: Ask = (body) => {
    at.push(oldSizeIn(body));
    // Between any two questions it cosigns a little more, and at last all.
    if (oldSizeIn(body) < size) return conflict(oldSizeIn(body) + 1);
    witness(Buffer.concat([Buffer.from("old 0\n\n"), parseAddCheckpoint(body).checkpoint]));
    return witness(body);
  };
  assert.deepEqual((await ask(s, busy)).by, [ONE, TWO]);
  assert.equal(at.at(-1), size);
  assert.ok(at.length > 2);
});

test("a longer ledger that another process signed here meanwhile is no doubt", async () => {
  const s = await state();
  const { size } = await headOf(s);
  let grown: Promise<void> | undefined;
  const { site } = place(ONE, () => conflict(0));
  const addMore = async (): Promise<WitnessAnswer> => {
    grown ??= grow(s, 1);
    await grown;
    return conflict(size + 1);
  };
  const witnessed = await askWitnesses(s.home, [
    { name: ONE, site: { ...site, addCheckpoint: addMore } as RemoteSite },
  ]);
  assert.match(witnessed?.failures.get(ONE) ?? "", /which another process signed here meanwhile/);
  assert.equal(await isDoubted(s), false);
});

test("a witness that says it has another history, and shows none, stops nothing; people hear of it until it cosigns", async () => {
  const s = await state();
  const { size } = await headOf(s);
  await assertGoesOn(s, () => conflict(size), /another history of this ledger, of \d+ entries/);
  await grow(s, 1);
  await assertGoesOn(
    s,
    (body) => (oldSizeIn(body) === 0 ? conflict(2) : status(422)),
    /another history of this ledger, of 2 entries/,
  );
  await grow(s, 1);
  await assertGoesOn(
    s,
    () => conflict(size + 1000),
    /and home has \d+\. Either home has forgotten/,
  );
  assert.equal(await isDoubted(s), true);
  // What an answer that says nothing leaves, another process still hears.
  await grow(s, 1);
  await ask(s, () => status(503));
  assert.equal(await isDoubted(s), true);
  await ask(s, await honest(s, 0));
  assert.equal(await isDoubted(s), false);
});

test("a witness that names one size after another is asked so often and no more", async () => {
  const s = await state();
  let questions = 0;
  const { failures } = await ask(s, () => conflict(1 + (questions++ % 2)));
  assert.ok(questions > 2 && questions < 20, `${questions}`);
  assert.match(failures.get(ONE) ?? "", /it named another size/);
});

test("a witness whose site shows another history that the ledger's key signed stops home", async () => {
  const s = await state();
  const head = await headOf(s);
  const key = logKeyFromSeed(s.secret("ledger"), head.origin);
  const shown = (one: TreeHead): readonly [string, Uint8Array] => {
    const checkpoint = signCheckpoint(key, one, s.day(2).getTime() / 1000);
    return [checkpointName(one, checkpoint), checkpoint];
  };
  const junk = [checkpointName(head, Buffer.from("junk")), Buffer.from("junk")] as const;
  const smaller = await headOf(s, head.size - 1);
  const root = new Uint8Array(32).fill(7);
  const altered = {
    code: "altered",
    message: /^the ledger has forked: witness witness-one holds /,
  };
  const same: Ask = () => conflict(head.size);
  await assert.rejects(
    ask(s, same, new Map([junk, shown(head), shown({ ...head, root })])),
    altered,
  );
  const inconsistent: Ask = (body) =>
    oldSizeIn(body) === smaller.size ? status(422) : conflict(smaller.size);
  const objects = new Map([shown(smaller), shown({ ...smaller, root })]);
  await assert.rejects(ask(s, inconsistent, objects), altered);
  // Home's own history, and what another key signed, are none.
  const strange = { ...head, root };
  const forged = signCheckpoint(
    logKeyFromSeed(new Uint8Array(32).fill(9), head.origin),
    strange,
    s.day(2).getTime() / 1000,
  );
  await grow(s, 1);
  const now = await headOf(s);
  const harmless = new Map([junk, shown(now), [checkpointName(strange, forged), forged] as const]);
  await assertGoesOn(
    s,
    () => conflict(now.size),
    /and its site shows no checkpoint of it/,
    harmless,
  );
});

test("a witness that has forgotten what it cosigned is asked from what it has, and named", async () => {
  const s = await state();
  await grow(s, 2);
  assert.deepEqual((await ask(s, await honest(s, 0))).by, [ONE, TWO]);
  await grow(s, 1);
  const { size } = await headOf(s);
  const fresh = await (await witnessedState()).copy(folder());
  const forgetful = await honest(s, 0, fresh.watch[0]!.store);
  assert.deepEqual((await ask(s, forgetful)).by, [ONE, TWO]);
  const needs = await witnessNeeds(s.home);
  const said = new RegExp(`it says 0 entries .* its cosignature on ${size - 1}`);
  assert.ok(
    needs.some((need) => said.test(need)),
    needs.join("; "),
  );
});
