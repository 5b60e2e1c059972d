import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { hostileSite, namesWithoutEnd } from "../../test/support/hostile-site.ts";
import { temporaryFolder } from "../../test/support/places.ts";
import { Catalog } from "../vault/catalog.ts";
import { parseId } from "../vault/identifiers.ts";
import { listHeld } from "./known-packs.ts";

const STATE = parseId("StateId", "1".repeat(64));

test("a site that names shards without end is one that cannot list, and the others are believed", async (t) => {
  const catalog = new Catalog(join(temporaryFolder(t), "catalog.sqlite"), STATE);
  t.after(() => catalog.close());
  const own = "a".repeat(64);
  const flooding = hostileSite("kn", { names: shardsWithoutEnd });
  const honest = hostileSite("lu", { names: () => [`${own}.01`] });
  const failed = await listHeld(catalog, [flooding, honest]);
  assert.deepEqual([...failed.keys()], ["kn"]);
  assert.match(failed.get("kn") ?? "", /names more shards than it can have been given/);
  assert.equal(catalog.heldShards(parseId("DispersalId", own)), 1);
});

function* shardsWithoutEnd(): Generator<string> {
  for (const id of namesWithoutEnd()) yield `${id}.00`;
}
