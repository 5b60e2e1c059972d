/** What sites name and give, of which any may lie, flood or dawdle: no one of them hides what another has. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type HostileSite, hostileSite, namesWithoutEnd } from "../../test/support/hostile-site.ts";
import { toHex } from "../crypto/bytes.ts";
import { sha256 } from "../crypto/hash.ts";
import { ExclaveError } from "../errors.ts";
import {
  allNames,
  documentIds,
  NAMES_PER_SITE_MAX,
  namesAt,
  readEach,
  takeUnknown,
} from "./site-documents.ts";

const KIND = "succession";
const PER_SITE_MAX = 20;

const DOCUMENTS = ["one", "two", "three"].map((text) => Buffer.from(text));
const idOf = (bytes: Uint8Array): string => toHex(sha256(bytes));
const IDS = DOCUMENTS.map(idOf);

/** Names and gives the documents, as an honest site. */
const HONEST: HostileSite = {
  names: () => IDS,
  give: (name) => DOCUMENTS.find((bytes) => name === `${KIND}/${idOf(bytes)}`),
};

/** Takes what is unknown of some sites, and what was said. */
async function taken(
  sites: readonly HostileSite[],
  options: { readonly known?: readonly string[]; readonly clockMs?: () => number } = {},
) {
  const { known = [], clockMs } = options;
  const [ids, notices]: [string[], string[]] = [[], []];
  await takeUnknown(
    sites.map((one, i) => hostileSite(`site-${i}`, one)),
    KIND,
    {
      isKnown: (id) => known.includes(id),
      perSiteMax: PER_SITE_MAX,
      onNotice: (notice) => notices.push(notice),
      ...(clockMs ? { clockMs } : {}),
      take: (id, bytes) => {
        assert.equal(idOf(bytes), id);
        ids.push(id);
      },
    },
  );
  return { ids: ids.toSorted(), notices };
}

test("a site that names more than any can hold is as one that cannot list, and is named", async () => {
  const notices: string[] = [];
  const places = [
    hostileSite("flood", { names: () => namesWithoutEnd() }),
    hostileSite("honest", HONEST),
    { name: "away", problem: "it does not answer" },
  ];
  const onNotice = (notice: string): void => void notices.push(notice);
  const ids = await documentIds(places, KIND, { onNotice });
  assert.deepEqual([...ids].toSorted(), IDS.toSorted());
  assert.match(notices.join("\n"), /^site flood names more than 1000000 objects .*operator why$/);
});

test("a site that names just as many as one can hold is believed, and one that breaks off as far as it went", async () => {
  function* breaksOff(): Generator<string> {
    yield* IDS;
    throw new ExclaveError("site-unavailable", "it does not answer any more");
  }
  const many = hostileSite("many", { names: () => namesWithoutEnd(NAMES_PER_SITE_MAX) });
  const notices: string[] = [];
  const onNotice = (notice: string): void => void notices.push(notice);
  const ids = await documentIds([many, hostileSite("breaks-off", { names: breaksOff })], KIND, {
    onNotice,
  });
  assert.deepEqual([ids.size, notices], [NAMES_PER_SITE_MAX + IDS.length, []]);
});

test("a site that takes too long to name its objects is as one that cannot list, and is named", async () => {
  let hours = 0;
  function* dawdles(): Generator<string> {
    for (const name of namesWithoutEnd(10)) {
      hours++;
      yield name;
    }
  }
  const notices: string[] = [];
  const ids = await documentIds([hostileSite("slow", { names: dawdles })], KIND, {
    onNotice: (notice) => notices.push(notice),
    clockMs: () => hours * 3_600_000,
  });
  assert.equal(ids.size, 0);
  assert.match(notices.join("\n"), /^site slow takes too long to name its objects/);
});

test("a site that names without end what it cannot give is asked so often, and hides nothing", async () => {
  let asked = 0;
  const flood: HostileSite = {
    names: () => namesWithoutEnd(),
    give: () => {
      asked++;
      return undefined;
    },
  };
  const { ids, notices } = await taken([flood, HONEST, flood]);
  assert.deepEqual(ids, IDS.toSorted());
  assert.equal(asked, 2 * PER_SITE_MAX);
  assert.equal(notices.length, 2);
  assert.match(notices[0] ?? "", /^site site-0 names more than the 20 .*, and does not give 20 /);
});

test("what is named twice is taken once, from whoever gives it as it is named, and not at all when it is known", async () => {
  const liar: HostileSite = { names: () => IDS, give: () => Buffer.from("another document") };
  const { ids, notices } = await taken([liar, HONEST, HONEST], { known: IDS.slice(0, 1) });
  assert.deepEqual(ids, IDS.slice(1).toSorted());
  assert.match(notices.join("\n"), /^site site-0 does not give 2 that it names/);
});

test("what is known already is not counted against what a site may be asked for", async () => {
  const known = [...namesWithoutEnd(5 * PER_SITE_MAX)];
  const old: HostileSite = { ...HONEST, names: () => [...known, ...IDS] };
  assert.deepEqual(await taken([old], { known }), { ids: IDS.toSorted(), notices: [] });
});

test("documents are read at the same time, of one site and of several", async () => {
  // Each read waits for the others to have begun: one after another they would never end.
  const barrier = (parties: number) => {
    const { promise, resolve } = Promise.withResolvers<void>();
    let begun = 0;
    return () => {
      if (++begun === parties) resolve();
      return promise;
    };
  };
  const begin = barrier(2 * IDS.length);
  const waiting: HostileSite = {
    ...HONEST,
    give: async (name) => {
      await begin();
      return HONEST.give?.(name);
    },
  };
  assert.deepEqual((await taken([waiting, waiting])).ids, IDS.toSorted());
});

test("a site that gives what it names too slowly is left, and the others are not", async () => {
  let minutes = 0;
  let asked = 0;
  const slow: HostileSite = {
    names: () => namesWithoutEnd(PER_SITE_MAX),
    give: () => {
      asked++;
      minutes++;
      return undefined;
    },
  };
  const { notices } = await taken([slow], { clockMs: () => minutes * 60_000 });
  assert.ok(asked < PER_SITE_MAX, `${asked}`);
  assert.match(notices.join("\n"), /takes too long to give what it names/);
  assert.deepEqual((await taken([HONEST, slow])).ids, IDS.toSorted());
});

/** Reads all that the sites name; each question takes so many of the site's own minutes. */
async function read(sites: readonly (HostileSite & { readonly minutes?: number })[]) {
  let minutesGone = 0;
  const asked = sites.map(() => 0);
  const places = sites.map(({ names, give, minutes = 0 }, i) =>
    hostileSite(`site-${i}`, {
      names,
      give: (name) => {
        asked[i] = (asked[i] ?? 0) + 1;
        minutesGone += minutes;
        return give?.(name);
      },
    }),
  );
  const [ids, leftOut, notices]: [string[], string[], string[]] = [[], [], []];
  await readEach(await namesAt(places, KIND), KIND, {
    take: (id, bytes) => {
      assert.equal(idOf(bytes), id);
      ids.push(id);
    },
    onLeftOut: (id) => leftOut.push(id),
    onNotice: (notice) => notices.push(notice),
    clockMs: () => minutesGone * 60_000,
  });
  return { ids: ids.toSorted(), leftOut, notices, asked };
}

test("names that nobody can give cost so much time of the site that planted them, and hide nothing of another", async () => {
  const planted = [...namesWithoutEnd(50_000)];
  const liar = { names: () => [...planted, ...IDS], minutes: 1 };
  // Whoever plants them comes first, and so do they.
  const { ids, leftOut, notices, asked } = await read([liar, HONEST, { ...HONEST, minutes: 1 }]);
  assert.deepEqual(ids, IDS.toSorted());
  assert.equal(asked[0], 6);
  assert.equal(leftOut.length, 6);
  assert.equal(notices.length, 1);
  assert.match(
    notices[0] ?? "",
    /^site site-0 does not give 6 objects of the kind succession that it names, and was not asked for 49994 more, /,
  );
});

test("a name is asked for where it is named, and first of the site that has taken least time", async () => {
  const slow = { ...HONEST, minutes: 1 };
  const elsewhere = { ...HONEST, names: () => namesWithoutEnd(1) };
  const { ids, asked } = await read([slow, HONEST, { ...elsewhere, minutes: 1 }]);
  assert.deepEqual(ids, IDS.toSorted());
  // Each document is two questions: how large it is, and its bytes.
  assert.deepEqual(asked, [2, 2 * (IDS.length - 1), 1]);
});

test("a site with many damaged documents is read to the end where that takes no time", async () => {
  const damaged = [...namesWithoutEnd(1500)];
  const { ids, leftOut, notices } = await read([{ ...HONEST, names: () => [...damaged, ...IDS] }]);
  assert.deepEqual(ids, IDS.toSorted());
  assert.equal(leftOut.length, 1000);
  assert.match(notices.join(), /^site site-0 does not give 1500 .* was not asked for 0 more/);
});

test("a document that is refused leaves the others alone, and a mistake in the program ends the reading", async () => {
  const named = await namesAt([hostileSite("honest", HONEST)], KIND);
  const [bad, ...good] = [...allNames(named)];
  const [taken, leftOut]: [string[], string[]] = [[], []];
  const reading = (error: Error) => ({
    take: (id: string) => {
      if (id === bad) throw error;
      taken.push(id);
    },
    onLeftOut: (id: string) => void leftOut.push(id),
  });
  await readEach(named, KIND, reading(new ExclaveError("untrusted", "signed by nobody")));
  assert.deepEqual([taken, leftOut], [good, [bad]]);
  await assert.rejects(readEach(named, KIND, reading(new ExclaveError("bug", "oh"))), /oh/);
  await assert.rejects(readEach(named, KIND, reading(new TypeError("oh"))), /oh/);
});
