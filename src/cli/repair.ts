import { Command } from "commander";
import { acquaint } from "../governance/acquaint.ts";
import { openAllSites, publish, requireCurrent } from "../governance/ledger-at-sites.ts";
import { extendLocks, keptAt } from "../registers/extend-locks.ts";
import { listHeld } from "../registers/known-packs.ts";
import { repairDocuments, repairShards } from "../registers/repair.ts";
import { parseId } from "../vault/identifiers.ts";
import { lockRegister } from "../vault/lock.ts";
import { isOpen, openSites } from "../vault/open-sites.ts";
import { withHome, withState } from "./context.ts";
import { EXIT } from "./exit-codes.ts";
import { plural } from "./format.ts";
import type { MakeCommand } from "./main.ts";

export const repairCommand: MakeCommand = (terminal, setExit) =>
  new Command("repair")
    .description("make anew, from the others, the shards that sites lack; needs no decryption key")
    .argument("<register>")
    .action(async (name: string) => {
      const result = await withHome(async (home, catalog) => {
        const register = home.register(name);
        const id = parseId("RegisterId", register.id);
        const unlock = lockRegister(home, id, name);
        try {
          const places = await openSites(home, register);
          await acquaint(home, places);
          const unavailable = places.flatMap((place) => (isOpen(place) ? [] : [place.problem]));
          await listHeld(catalog, places);
          const report = await repairShards({
            catalog,
            register,
            places,
            onProgress: (progress) =>
              terminal.progress(
                { register: name, ...progress },
                () => `${progress.shards} shards made anew`,
              ),
          });
          const copied = await repairDocuments(places, (notice) => terminal.notice(notice));
          const documents = Object.fromEntries(copied);
          // What came into the ledger while a site was away.
          await withState(home, async () => {
            const all = await openAllSites(home);
            await requireCurrent(home, all);
            await publish(home, all);
          });
          const until = new Date(Date.now() + home.charter.retentionSeconds * 1000);
          const locks = await extendLocks(places, until, (place, index) =>
            keptAt(catalog, id, place, index),
          );
          return { register: name, ...report, documents, locks, unavailable };
        } finally {
          unlock();
        }
      });
      terminal.endProgress();
      const { repaired, documents, locks, lostPacks, problems, unavailable } = result;
      if (lostPacks > 0 || problems.length > 0 || unavailable.length > 0) setExit(EXIT.incomplete);
      const lines = [
        ...Object.entries(repaired).map(
          ([site, { shards }]) => `${site}: ${plural(shards, "shard")} made anew`,
        ),
        ...Object.entries(documents).map(
          ([site, count]) => `${site}: ${plural(count, "document")} copied`,
        ),
        ...locks.map(({ site, objects, problem }) =>
          problem === undefined
            ? `${site}: ${plural(objects, "object")} locked for as long as the charter says`
            : `${site}: not all locks could be extended: ${problem}`,
        ),
        ...unavailable.map((why) => `not repaired: ${why}`),
        ...problems.map((why) => `not repaired: ${why}`),
        ...(lostPacks > 0
          ? [`${plural(lostPacks, "pack")} cannot be made anew: too few shards are left`]
          : []),
      ];
      terminal.result(
        result,
        lines.length === 0 ? [`${name}: every site has what it should.`] : lines,
      );
    });
