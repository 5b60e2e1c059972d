import { Command } from "commander";
import { rootOf } from "../registers/snapshots.ts";
import { parseId } from "../vault/identifiers.ts";
import { withHome } from "./context.ts";
import { formatAge, formatBytes, formatCount, formatTable, formatTime } from "./format.ts";
import type { MakeCommand } from "./main.ts";

export const snapshotsCommand: MakeCommand = (terminal) =>
  new Command("snapshots")
    .description("the recovery points of a register, newest first")
    .argument("<register>")
    .action(async (name: string) => {
      const snapshots = await withHome(async (home, catalog) => {
        const register = home.register(name);
        return catalog.snapshots(parseId("RegisterId", register.id)).map((row) => {
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
        });
      });
      const now = new Date();
      const rows = snapshots.map((one) => [
        one.id.slice(0, 12),
        formatTime(one.time),
        formatAge(one.time, now),
        formatCount(one.files),
        formatBytes(one.bytes),
        one.complete ? "" : "incomplete",
      ]);
      terminal.result(
        { register: name, snapshots },
        rows.length === 0
          ? [`No recovery point yet. Next: exclave protect ${name}`]
          : formatTable([["id", "time", "age", "files", "size", ""], ...rows]),
      );
    });
