/** What most commands begin with: home and its catalog. */
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { quarantineSuspects } from "../registers/quarantine-suspects.ts";
import { Catalog } from "../vault/catalog.ts";
import { Home } from "../vault/home.ts";
import { lockState } from "../vault/lock.ts";

export function homePath(): string {
  return resolve(process.env.EXCLAVE_HOME ?? join(homedir(), ".exclave"));
}

export async function openHome(): Promise<Home> {
  return Home.open(homePath());
}

/** Runs `work` while nobody else changes the charter or the configuration. */
export async function withState<T>(home: Home, work: () => Promise<T>): Promise<T> {
  const unlock = lockState(home);
  try {
    // Somebody else may have decided something while this one waited.
    home.refresh();
    return await work();
  } finally {
    unlock();
  }
}

/** Runs `work` with home and catalog open, and closes the catalog whatever happens. */
export async function withHome<T>(work: (home: Home, catalog: Catalog) => Promise<T>): Promise<T> {
  const home = await openHome();
  const catalog = new Catalog(home.catalogPath, home.state);
  try {
    await quarantineSuspects(home, catalog);
    return await work(home, catalog);
  } finally {
    catalog.close();
  }
}
