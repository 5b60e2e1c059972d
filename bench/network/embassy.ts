/** A State whose home and sites are the lab's namespaces: every command in its own, as people would run them. */
import type { ChildProcess } from "node:child_process";
import { closeSync, mkdirSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setImmediate as turn } from "node:timers/promises";
import { type Command, run } from "../measure.ts";
import { end, firstLine } from "./children.ts";
import type { Lab, LabHost } from "./lab.ts";
import { inNamespace, spawnIn } from "./namespaces.ts";

const BIN = join(import.meta.dirname, "../../bin/exclave");
const PORT = 7443;
const PASSPHRASE = "benchmark benchmark benchmark";
export const K = 2;

export type LabState = {
  readonly protect: Command;
  readonly restore: (to: string) => Command;
  /** Where the sites keep their shards. */
  readonly shardFolders: readonly string[];
  /** The sites' processes. */
  readonly sites: readonly ChildProcess[];
  readonly close: () => Promise<void>;
};

/** Founds a trial State at home, with a site that enforces at each host, and the corpus as its register. */
export async function foundInLab(
  lab: Lab,
  directory: string,
  corpus: string,
  names: readonly string[],
  signal: AbortSignal,
): Promise<LabState> {
  const home = join(directory, "home");
  const atHome = (...args: readonly string[]): Command => ({
    argv: inNamespace(lab.home.namespace, [process.execPath, BIN, ...args]),
    env: { EXCLAVE_HOME: home },
  });
  // Commands are waited for; between two of them an interruption is heard of.
  const step = async (command: Command): Promise<void> => {
    await turn();
    signal.throwIfAborted();
    run(command);
  };
  mkdirSync(directory, { recursive: true });
  const passphrase = join(directory, "passphrase");
  const request = join(directory, "request.json");
  writeFileSync(passphrase, `${PASSPHRASE}\n`);
  const key = join(directory, "recovery.age");
  const open = ["--passphrase-file", passphrase];
  await step(atHome("found", "--state", "Benchmark", ...open, "--recovery-key", key));
  await step(atHome("site", "request", "--out", request));

  const sites: ChildProcess[] = [];
  const close = async (): Promise<void> => {
    await Promise.all(sites.map((site) => end(site, "SIGTERM")));
  };
  try {
    for (const [i, name] of names.entries()) {
      const host = lab.hosts[i];
      if (!host) throw new Error(`there is no host for site ${name}`);
      const folder = join(directory, name);
      sites.push(await serveSite(host, folder, name, request));
      await step(atHome("site", "add", "--card", join(folder, `${name}.card.json`)));
    }
    const placement = ["--sites", names.join(","), "--threshold", String(K)];
    await step(
      atHome("register", "add", "corpus", "--kind", "files", "--path", corpus, ...placement),
    );
  } catch (error) {
    await close();
    throw error;
  }
  const config: unknown = JSON.parse(readFileSync(request, "utf8"));
  return {
    protect: atHome("protect", "corpus"),
    restore: (to) => atHome("restore", "corpus", "--to", to),
    shardFolders: names.map((name) =>
      join(directory, name, "states", stateOf(config), "objects/shard"),
    ),
    sites,
    close,
  };
}

/** A site's process, once it serves. Its log is beside its folder. */
async function serveSite(
  host: LabHost,
  folder: string,
  name: string,
  request: string,
): Promise<ChildProcess> {
  const argv = (...args: readonly string[]): readonly string[] => [
    process.execPath,
    BIN,
    "site",
    ...args,
    "--folder",
    folder,
  ];
  const command = (...args: readonly string[]): Command => ({
    argv: inNamespace(host.namespace, argv(...args)),
  });
  const url = `https://${host.address}:${PORT}`;
  const who = ["--name", name, "--country", name.toUpperCase(), "--operator", name];
  run(command("init", ...who, "--url", url));
  run(command("grant", request, "--yes"));
  const log = openSync(`${folder}.log`, "w");
  const site = spawnIn(host.namespace, argv("serve", "--json"), {
    stdio: ["ignore", "pipe", log],
  });
  closeSync(log);
  const line = await firstLine(site);
  if (line?.includes('"ready":true')) return site;
  await end(site);
  throw new Error(
    `site ${name} does not serve: ${readFileSync(`${folder}.log`, "utf8").slice(-500)}`,
  );
}

/** The State's id, from its request: a DSSE envelope. */
function stateOf(envelope: unknown): string {
  const { payload } = envelope as { readonly payload: string };
  const request: unknown = JSON.parse(Buffer.from(payload, "base64").toString());
  return (request as { readonly state: string }).state;
}
