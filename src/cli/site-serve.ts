import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { Command } from "commander";
import { ExclaveError } from "../errors.ts";
import { readSettings, type SiteSettings } from "../site-daemon/settings.ts";
import { plural } from "./format.ts";
import { type FolderFlag, folderOption } from "./site-folder.ts";
import type { Terminal } from "./terminal.ts";

const HELP = `
It serves the States that it has a grant for, and takes new grants up by itself. Its log goes to standard
error, a JSON object a line. SIGTERM or Ctrl-C: it finishes what is under way and ends. SIGHUP: it reads
the grants again. With --json it says in one line when it is ready, and at which ports:
  {"ready":true,"port":7443,"adminPort":7444,"states":["…"]}`;

export function siteServeCommand(terminal: Terminal): Command {
  return new Command("serve")
    .description("at a site: run it, until it is told to stop")
    .addOption(folderOption())
    .addHelpText("after", HELP)
    .action(async ({ folder }: FolderFlag) => {
      const settings = await readSettings(folder);
      const stopped = untilStopped();
      const unlock = lockFolder(folder);
      try {
        // Loaded only now: the other commands of a site do not need it.
        const { startSite } = await import("../site-daemon/daemon.ts");
        const running = await startSite({ folder }).catch(whyNot);
        try {
          stopped.onReload(() => void running.reload());
          const { port, monitorPort, adminPort } = running;
          const states = running.served();
          terminal.result(
            { ready: true, port, ...(monitorPort ? { monitorPort } : {}), adminPort, states },
            [readyLine(settings, { port, adminPort }, states.length)],
          );
          await stopped.promise;
        } finally {
          await running.close();
        }
      } finally {
        unlock();
        stopped.end();
      }
      terminal.result({ stopped: true }, ["It has stopped."]);
    });
}

function readyLine(
  { name, listen, admin }: SiteSettings,
  ports: { readonly port: number; readonly adminPort: number },
  states: number,
): string {
  return `Site ${name} serves ${plural(states, "State")} at ${listen.host} port ${ports.port}; health and metrics are at ${admin.host} port ${ports.adminPort}.`;
}

/** Ends with the first signal to stop; a second one ends the process as it does by default. */
function untilStopped() {
  const { promise, resolve } = Promise.withResolvers<void>();
  let reload = (): void => undefined;
  const onStop = (): void => {
    for (const signal of STOPS) process.off(signal, onStop);
    resolve();
  };
  const onReload = (): void => reload();
  for (const signal of STOPS) process.on(signal, onStop);
  process.on("SIGHUP", onReload);
  return {
    promise,
    onReload: (work: () => void): void => {
      reload = work;
    },
    end: (): void => {
      for (const signal of STOPS) process.off(signal, onStop);
      process.off("SIGHUP", onReload);
    },
  };
}

const STOPS = ["SIGTERM", "SIGINT"] as const;

/**
 * One process a folder: two would each have their own idea of what is stored. SQLite's file lock belongs to the
 * process, so the system takes it back however the process ends.
 */
function lockFolder(folder: string): () => void {
  const db = new DatabaseSync(join(folder, "serving.sqlite"), { timeout: 0 });
  try {
    db.exec("BEGIN EXCLUSIVE");
  } catch (cause) {
    db.close();
    throw new ExclaveError("busy", `another process serves the site in ${folder} already`, {
      cause,
    });
  }
  return () => db.close();
}

const CANNOT_LISTEN: readonly unknown[] = ["EADDRINUSE", "EACCES", "EADDRNOTAVAIL", "ENOTFOUND"];

function whyNot(error: unknown): never {
  const { code, message } = error as NodeJS.ErrnoException;
  if (!CANNOT_LISTEN.includes(code)) throw error;
  throw new ExclaveError(
    "usage",
    `the site cannot listen where its settings say (${message}). Nothing was served; change site.json, or end what listens there`,
    { cause: error },
  );
}
