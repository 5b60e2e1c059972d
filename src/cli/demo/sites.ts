/** The demo's sites: folders with keys of their own, the processes that serve them, and how the State asks them. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { z } from "zod";
import { fromBase64, toBase64 } from "../../crypto/bytes.ts";
import { parseSigningPublicKey, type SigningKey } from "../../crypto/signing.ts";
import { ExclaveError, invariant, isExclaveError } from "../../errors.ts";
import { jsonText, writeFileIn } from "../../site-daemon/folder.ts";
import { newGrant, writeGrant } from "../../site-daemon/grant.ts";
import { initSite } from "../../site-daemon/site-files.ts";
import { openRemoteSite, type RemoteSite } from "../../sites/remote.ts";
import { openSiteCard, type SiteCard } from "../../sites/site-card.ts";
import type { Home } from "../../vault/home.ts";
import { engineSite, type Host, hosts, ownSite, soldSite } from "./hosts.ts";
import { freePorts } from "./site-processes.ts";
import { type Paths, type Stage, sitePath } from "./stage.ts";

/** What each State may store at a site. */
const QUOTA_BYTES = 1e9;
const SERVED_SECONDS_MAX = 30;
const LOOK_EVERY_MS = 50;

/** A site as its operator announces it. */
export type DemoSite = { readonly folder: string; readonly card: SiteCard };

export type DemoSites = {
  readonly of: (site: string) => DemoSite;
  /** Resolves when all of them serve. */
  readonly ready: Promise<unknown>;
};

/**
 * Makes every site and starts its process; none of them serves anybody yet.
 *
 * @param engineFile how an S3 engine is reached, for the one site that may store in one
 */
export async function startSites(
  { paths, processes }: Pick<Stage, "paths" | "processes">,
  engineFile: string | undefined,
): Promise<DemoSites> {
  const all = [...hosts, soldSite, ownSite];
  const ports = await freePorts(all.length);
  const made = await Promise.all(
    all.map(
      async (host, i) => [host.site, await makeSite(paths, host, ports[i], engineFile)] as const,
    ),
  );
  const sites = new Map(made);
  await Promise.all([...hosts, soldSite].map(({ site }) => nameTheOthers(sites, site)));
  const ready = Promise.all([...sites].map(([name, { folder }]) => processes.start(name, folder)));
  // Whoever waits for it is told; until then it is not unheard of.
  ready.catch(() => undefined);
  return {
    ready,
    of: (name) => {
      const site = sites.get(name);
      invariant(site, `there is a site ${name}`);
      return site;
    },
  };
}

async function makeSite(
  paths: Paths,
  host: Host,
  port: number | undefined,
  engineFile: string | undefined,
): Promise<DemoSite> {
  invariant(port !== undefined, "there is a port for each site");
  const { site: name, code: country, operator, hazardZone } = host;
  const folder = sitePath(paths, host);
  const made = await initSite(folder, {
    name,
    country,
    operator,
    hazardZone,
    url: `https://127.0.0.1:${port}`,
    listen: { host: "127.0.0.1", port },
    admin: { host: "127.0.0.1", port: 0 },
    storage:
      name === engineSite && engineFile !== undefined
        ? { kind: "s3", file: engineFile }
        : { kind: "directory" },
  });
  const card = made.card();
  await writeFileIn(join(folder, `${name}.card.json`), card);
  return { folder, card: openSiteCard(card).card };
}

/** Tells a site of the others, as its operator would in site.json: vetoes that reach it are passed on to them. */
async function nameTheOthers(sites: ReadonlyMap<string, DemoSite>, own: string): Promise<void> {
  const { folder } = sites.get(own) ?? {};
  invariant(folder, `there is a site ${own}`);
  const file = join(folder, "site.json");
  const settings = JSON.parse(await readFile(file, "utf8")) as object;
  const peers = [...sites.values()]
    .map(({ card: { name, url, signing } }) => ({ name, url, signing }))
    .filter(({ name }) => name !== own && name !== ownSite.site);
  await writeFileIn(file, jsonText({ ...settings, peers }));
}

/** Has sites serve a State, as their operators do with `exclave site grant`, and waits until they do. */
export async function grant(sites: readonly DemoSite[], home: Home): Promise<void> {
  const { state, charter, agent } = home;
  const contact = toBase64(agent.publicKey.bytes);
  const granted = newGrant({ state, name: charter.name, contact, quotaBytes: QUOTA_BYTES });
  await Promise.all(
    sites.map(async (site) => {
      await writeGrant(site.folder, granted);
      await asking(site, { state, signer: agent }, async (remote) => {
        const end = Date.now() + SERVED_SECONDS_MAX * 1000;
        while (!(await isServed(remote))) {
          if (Date.now() > end) {
            throw new ExclaveError("site-unavailable", `site ${site.card.name} serves nobody`);
          }
          await delay(LOOK_EVERY_MS);
        }
      });
    }),
  );
}

/** A State that is not served looks as if it were not there. */
async function isServed(remote: RemoteSite): Promise<boolean> {
  try {
    await remote.status();
    return true;
  } catch (error) {
    if (isExclaveError(error, "not-found")) return false;
    throw error;
  }
}

/** Runs `ask` with a connection to a site, for a State and in somebody's name, or in nobody's. */
export async function asking<T>(
  { card }: DemoSite,
  { state, signer }: { readonly state: string; readonly signer?: SigningKey },
  ask: (remote: RemoteSite) => Promise<T>,
): Promise<T> {
  const { name, country, operator, hazardZone, url } = card;
  const remote = await openRemoteSite({
    url,
    identity: { name, country, operator, hazardZone },
    state,
    site: parseSigningPublicKey(fromBase64(card.signing)),
    signer,
  });
  try {
    return await ask(remote);
  } finally {
    await remote.close();
  }
}

/** What of a site's status the demo asks for. */
const statusSchema = z.object({
  bytes: z.int(),
  objects: z.record(z.string(), z.object({ objects: z.int() })),
});

/** What a site says that it stores of a State, in objects and bytes. */
export async function storedAt(
  site: DemoSite,
  { state, agent }: Pick<Home, "state" | "agent">,
): Promise<{ readonly files: number; readonly bytes: number }> {
  return asking(site, { state, signer: agent }, async (remote) => {
    const status = statusSchema.parse(await remote.status());
    const files = Object.values(status.objects).reduce((sum, { objects }) => sum + objects, 0);
    return { files, bytes: status.bytes };
  });
}
