/** The demo's sites as they are in life: `exclave site serve`, a process each, ended by its process id. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, openSync, readFileSync } from "node:fs";
import { createServer } from "node:net";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { ExclaveError, invariant } from "../../errors.ts";

const ENTRY = resolve(import.meta.dirname, "../../../bin/exclave");
const READY_SECONDS_MAX = 60;
/** A site that is asked to stop finishes what is under way; one that takes longer is killed. */
const STOP_SECONDS_MAX = 10;
const LOG_SHOWN_CHARACTERS = 600;

export class SiteProcesses {
  readonly #running = new Map<string, ChildProcess>();

  /** Starts the site in a folder. Resolves when it serves; rejects with `site-unavailable` when it ends before. */
  async start(name: string, folder: string): Promise<void> {
    const logFile = join(folder, "log.jsonl");
    const log = openSync(logFile, "a", 0o600);
    const command = [ENTRY, "--json", "site", "serve", "--folder", folder];
    const child = spawn(process.execPath, command, { stdio: ["ignore", "pipe", log] });
    closeSync(log);
    this.#running.set(name, child);
    const failed = (): ExclaveError =>
      new ExclaveError(
        "site-unavailable",
        `the process of site ${name} did not start: ${readFileSync(logFile, "utf8").slice(-LOG_SHOWN_CHARACTERS)}`,
      );
    invariant(child.stdout, "its output is a pipe");
    const lines = createInterface({ input: child.stdout });
    const { promise, resolve: ready, reject } = Promise.withResolvers<void>();
    const late = setTimeout(() => reject(failed()), READY_SECONDS_MAX * 1000);
    child.once("error", reject);
    child.once("exit", () => reject(failed()));
    lines.once("line", () => ready());
    await promise.finally(() => clearTimeout(late));
  }

  /** The process id of a site that runs. */
  pidOf(name: string): number {
    const pid = this.#running.get(name)?.pid;
    invariant(pid !== undefined, `site ${name} runs`);
    return pid;
  }

  /** Ends a site as a power cut would. Resolves when its process is gone. */
  async kill(name: string): Promise<void> {
    await this.#end(name, "SIGKILL");
  }

  /** Asks a site to stop, and waits until it has. */
  async stop(name: string): Promise<void> {
    await this.#end(name, "SIGTERM");
  }

  async stopAll(): Promise<void> {
    await Promise.all([...this.#running.keys()].map((name) => this.stop(name)));
  }

  /** Kills whatever still runs, without waiting for it. */
  killNow(): void {
    for (const child of this.#running.values()) child.kill("SIGKILL");
    this.#running.clear();
  }

  async #end(name: string, signal: "SIGKILL" | "SIGTERM"): Promise<void> {
    const child = this.#running.get(name);
    if (!child) return;
    if (child.exitCode === null && child.signalCode === null) {
      const gone = once(child, "exit");
      child.kill(signal);
      const late = setTimeout(() => child.kill("SIGKILL"), STOP_SECONDS_MAX * 1000);
      await gone.finally(() => clearTimeout(late));
    }
    // Only now: who clears up in a hurry must still find it.
    this.#running.delete(name);
  }
}

/** Ports that nobody listens at, all different. */
export async function freePorts(count: number): Promise<readonly number[]> {
  const servers = Array.from({ length: count }, () => createServer());
  try {
    return await Promise.all(
      servers.map(async (server) => {
        server.listen(0, "127.0.0.1");
        await once(server, "listening");
        const address = server.address();
        invariant(address && typeof address === "object", "a listener has a port");
        return address.port;
      }),
    );
  } finally {
    for (const server of servers) server.close();
  }
}
