import { Command } from "commander";
import { rootOf } from "../registers/snapshots.ts";
import type { SnapshotRow } from "../vault/catalog.ts";
import { parseId } from "../vault/identifiers.ts";
import { withHome } from "./context.ts";
import { formatAge, formatBytes, formatCount, formatTable, formatTime, plural } from "./format.ts";
import type { MakeCommand } from "./main.ts";

export const snapshotsCommand: MakeCommand = (terminal) =>
  new Command("snapshots")
    .description("the recovery points of a register, newest first; those set aside beneath")
    .argument("<register>")
    .action(async (name: string) => {
      const { snapshots, setAside } = await withHome(async (home, catalog) => {
        const id = parseId("RegisterId", home.register(name).id);
        return {
          snapshots: catalog.snapshots(id).map(described),
          setAside: catalog
            .quarantined(id)
            .map((row) => ({ ...described(row), why: row.quarantined ?? "" })),
        };
      });
      const now = new Date();
      const rows = (all: readonly Described[]): readonly (readonly string[])[] =>
        all.map((one) => [
          one.id.slice(0, 12),
          formatTime(one.time),
          formatAge(one.time, now),
          formatCount(one.files),
          formatBytes(one.bytes),
          one.complete ? "" : "incomplete",
        ]);
      const heading = ["id", "time", "age", "files", "size", ""];
      terminal.result({ register: name, snapshots, setAside }, [
        ...(snapshots.length === 0
          ? [`No recovery point yet. Next: exclave protect ${name}`]
          : formatTable([heading, ...rows(snapshots)])),
        ...(setAside.length === 0
          ? []
          : [
              "",
              `Set aside, and never restored unless asked for (--snapshot ID --quarantined): ${plural(setAside.length, "recovery point")}`,
              ...rows(setAside).map(
                (row, i) => `  ${row.slice(0, 5).join("  ")}: ${setAside[i]?.why}`,
              ),
            ]),
      ]);
    });

type Described = ReturnType<typeof described>;

function described(row: SnapshotRow) {
  const { parts, complete } = rootOf(row);
  return {
    id: row.id,
    time: row.time,
    sequence: row.sequence,
    epoch: row.epoch,
    term: row.term,
    complete,
    files: parts.reduce((sum, part) => sum + part.files, 0),
    bytes: parts.reduce((sum, part) => sum + part.bytes, 0),
  };
}
