/** What the figures were measured on. */
import { spawnSync } from "node:child_process";
import { cpus, loadavg, release, totalmem } from "node:os";

export type Machine = {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryBytes: number;
  readonly kernel: string;
  /** Of the directory that everything is written to: device and file system. */
  readonly disk: string;
  readonly node: string;
  readonly openssl: string;
  /** Over the last minute, before the first measurement; well above 0 means: others were at work. */
  readonly loadBefore: number;
};

export function describeMachine(directory: string): Machine {
  const all = cpus();
  const disk = spawnSync("df", ["--output=source,fstype", directory], { encoding: "utf8" });
  return {
    cpu: all[0]?.model.trim() ?? "unknown",
    cores: all.length,
    memoryBytes: totalmem(),
    kernel: release(),
    disk: disk.stdout?.trim().split("\n").at(-1)?.replaceAll(/\s+/g, ", ") ?? "unknown",
    node: process.version,
    openssl: process.versions.openssl,
    loadBefore: loadavg()[0] ?? 0,
  };
}
