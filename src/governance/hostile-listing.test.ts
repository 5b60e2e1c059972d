/** One site of a State that names what is not there, or what nobody could sort out, against a home that goes on. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { folder, plainState, retain, veto } from "../../test/support/attacks.ts";
import { keyOf } from "../../test/support/charter.ts";
import { type HostileSite, hostileSite, namesWithoutEnd } from "../../test/support/hostile-site.ts";
import { sha256 } from "../crypto/hash.ts";
import { checkpointName } from "../ledger/at-sites.ts";
import type { SitePlace } from "../vault/open-sites.ts";
import { bringAll, openAllSites, requireCurrent } from "./ledger-at-sites.ts";
import { takeObjections } from "./objections.ts";

const state = async () => (await plainState()).copy(folder());

/** Names documents of some kinds without end, gives none, and counts how often it was asked. */
function flooding(...kinds: readonly string[]) {
  let asked = 0;
  const site: HostileSite = {
    names: (kind) => (kinds.includes(kind) ? namesWithoutEnd() : []),
    give: () => {
      asked++;
      return undefined;
    },
  };
  return { place: hostileSite("flood", site), asked: () => asked };
}

test("successions without end at one site neither stop home nor hide the one that another site has", async () => {
  const s = await state();
  const { place, asked } = flooding("succession");
  const notices: string[] = [];
  const notice = (one: string): void => void notices.push(one);
  const honest = await openAllSites(s.home);
  await requireCurrent(s.home, [place, ...honest], notice);
  assert.ok(asked() > 0 && asked() <= 256, `${asked()}`);
  assert.match(notices.join("\n"), /^site flood names more than the 256 /);
  await s.recover(10);
  const [one] = honest;
  const places = [place, ...(one ? [one] : [])];
  await assert.rejects(requireCurrent(s.home, places), {
    code: "untrusted",
    message: /^this home has been superseded/,
  });
});

test("a site that holds nothing but junk where checkpoints are is as one that is away", async () => {
  const s = await state();
  const head = await s.home.withLedger((log) => log.head());
  const names = Array.from({ length: 100 }, (_, i) =>
    checkpointName({ ...head, size: 1000 + i }, sha256(Buffer.from(`${i}`))).slice(
      "checkpoint/".length,
    ),
  );
  const junk = hostileSite("junk", {
    names: (kind) => (kind === "checkpoint" ? names : []),
    give: () => Buffer.from("junk"),
  });
  const honest = await openAllSites(s.home);
  const held = await requireCurrent(s.home, [junk, ...honest]);
  assert.deepEqual([...held.keys()].toSorted(), honest.map(({ name }) => name).toSorted());
});

test("annexes without end at one site do not keep home from what it brings there", async () => {
  const s = await state();
  const { place } = flooding("annex");
  const put: string[] = [];
  const site = { ...place.site, put: async (name: string) => void put.push(name) };
  await s.home.withGenerations((generations) => bringAll(s.home, generations, site));
  for (const kind of ["annex", "charter", "checkpoint"]) {
    assert.ok(
      put.some((name) => name.startsWith(`${kind}/`)),
      kind,
    );
  }
});

test("vetoes without end at one site cost home so many questions, and another site's veto comes in", async () => {
  const s = await state();
  const decision = await s.decide(retain, 10);
  s.plant("veto", veto(s, decision, keyOf("justice"), 12), { sites: ["lu"] });
  const { place, asked } = flooding("veto", "freeze");
  const notices: string[] = [];
  const places: readonly SitePlace[] = [place, ...(await openAllSites(s.home))];
  const taken = await takeObjections(s.home, places, s.day(13), (one) => notices.push(one));
  assert.equal(taken, 1);
  assert.equal(s.home.known.history.vetoes.length, 1);
  assert.ok(asked() > 0 && asked() <= 2 * 1000, `${asked()}`);
  assert.match(notices.join("\n"), /site flood names more than the 1000 .* of the kind veto/);
});

test("one veto in a thousand envelopes keeps out no other veto", async () => {
  const s = await state();
  const decision = await s.decide(retain, 10);
  const [first, second] = ["justice", "interior"].map((seat) => veto(s, decision, keyOf(seat), 12));
  assert.ok(first && second);
  const copies = new Map(
    Array.from({ length: 1200 }, (_, i) => {
      const bytes = Buffer.concat([Buffer.from(" ".repeat(i + 1)), first]);
      return [sha256(bytes), bytes] as const;
    }).map(([hash, bytes]) => [Buffer.from(hash).toString("hex"), bytes]),
  );
  const copying = hostileSite("copies", {
    names: (kind) => (kind === "veto" ? copies.keys() : []),
    give: (name) => copies.get(name.slice("veto/".length)),
  });
  s.plant("veto", second, { sites: ["ee"] });
  // The site that copies comes first, and its copies fill what comes in at once.
  const places: readonly SitePlace[] = [copying, ...(await openAllSites(s.home))];
  assert.equal(await takeObjections(s.home, places, s.day(13)), 2);
  const signed = s.home.known.history.vetoes.flatMap(({ opened }) => opened.keyIds);
  assert.deepEqual(
    signed.toSorted(),
    ["justice", "interior"].map((seat) => keyOf(seat).id).toSorted(),
  );
});
