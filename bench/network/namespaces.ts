/**
 * Network namespaces of our own, named after this process, with what runs in them. What an earlier process left behind,
 * because nobody let it clean up, is ended and taken away at the start: by these names, and nothing else.
 */
import { type ChildProcess, type SpawnOptions, spawn, spawnSync } from "node:child_process";
import { existsSync } from "node:fs";

const PREFIX = "exclave-bench";

/** What cannot be done here, in words that a report can show. */
export class NotHere extends Error {}

/** Runs a command of the system's, and gives what it printed; throws with what it said. */
export function system(program: string, ...args: readonly string[]): string {
  const { status, error, stdout, stderr } = spawnSync(program, args, { encoding: "utf8" });
  if (error) throw new NotHere(`${program}: ${error.message}`);
  if (status === 0) return stdout;
  throw new NotHere(`${program} ${args.join(" ")}: ${stderr.trim()}`);
}

/** Throws NotHere, saying why, where namespaces cannot be made. */
export function requireNamespaces(): void {
  if (process.platform !== "linux") throw new NotHere("network namespaces are Linux's");
  if (process.getuid?.() !== 0) throw new NotHere("network namespaces take root");
  removeStale();
  const probe = namespaceOf("probe");
  system("ip", "netns", "add", probe);
  system("ip", "netns", "del", probe);
}

export function namespaceOf(role: string): string {
  return `${PREFIX}-${process.pid}-${role}`;
}

/** A namespace with nothing in it but its own loopback, which is up. */
export function addNamespace(role: string): string {
  const name = namespaceOf(role);
  system("ip", "netns", "add", name);
  system("ip", "-n", name, "link", "set", "lo", "up");
  return name;
}

/** A command line that runs in the namespace; the process that is started becomes it. */
export function inNamespace(name: string, argv: readonly string[]): readonly [string, ...string[]] {
  return ["ip", "netns", "exec", name, ...argv];
}

export function spawnIn(
  name: string,
  argv: readonly string[],
  options: SpawnOptions,
): ChildProcess {
  const [program, ...args] = inNamespace(name, argv);
  return spawn(program, args, options);
}

/** Ends what still runs there, and takes the namespace away. */
export function removeNamespace(name: string): void {
  const { stdout } = spawnSync("ip", ["netns", "pids", name], { encoding: "utf8" });
  for (const pid of (stdout ?? "").split("\n").filter((line) => /^\d+$/.test(line))) {
    try {
      process.kill(Number(pid), "SIGKILL");
    } catch {
      // It has ended by itself.
    }
  }
  spawnSync("ip", ["netns", "del", name]);
}

function removeStale(): void {
  for (const line of system("ip", "netns", "list").split("\n")) {
    const [name = ""] = line.split(" ");
    const [, pid] = new RegExp(`^${PREFIX}-(\\d+)-`).exec(name) ?? [];
    if (pid !== undefined && !existsSync(`/proc/${pid}`)) removeNamespace(name);
  }
}
