/**
 * Where a site is, as people write it and home keeps it: the path of a directory, `https://host:port` of a site that
 * enforces, or `s3:FILE`, a file that says how an engine is reached and with which credentials.
 */
import { resolve } from "node:path";
import type { PublicSigningKey, SigningKey } from "../crypto/signing.ts";
import { ExclaveError } from "../errors.ts";
import { Bandwidth, paced, parseBandwidth } from "../sites/bandwidth.ts";
import { breaking } from "../sites/circuit.ts";
import { openDirectorySite } from "../sites/directory.ts";
import { breakingRemote } from "../sites/enforcing.ts";
import { keepLocks } from "../sites/locking.ts";
import type { Site, SiteIdentity } from "../sites/site.ts";
import { isNamedSo } from "./named-bytes.ts";

export type SiteAddress =
  | { readonly kind: "directory"; readonly path: string }
  | { readonly kind: "remote"; readonly url: string }
  | { readonly kind: "s3"; readonly file: string };

const S3 = "s3:";

/** Reads an address; paths become absolute. Throws `usage` for a URL that is none of ours. */
export function parseSiteAddress(text: string): SiteAddress {
  if (text.startsWith(S3)) return { kind: "s3", file: resolve(text.slice(S3.length)) };
  if (!/^[a-z][a-z0-9+.-]+:\/\//i.test(text)) return { kind: "directory", path: resolve(text) };
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const isPlain =
    url?.protocol === "https:" &&
    url.pathname === "/" &&
    `${url.username}${url.password}${url.search}${url.hash}` === "";
  if (url && isPlain) return { kind: "remote", url: url.origin };
  throw new ExclaveError(
    "usage",
    `${text} is no site's address: give a directory, https://host:port, or s3:FILE`,
  );
}

/** The one spelling of an address. */
export function formatSiteAddress(address: SiteAddress): string {
  switch (address.kind) {
    case "directory":
      return address.path;
    case "remote":
      return address.url;
    case "s3":
      return `${S3}${address.file}`;
  }
}

export type OpenAt = {
  readonly identity: SiteIdentity;
  /** The State's id. */
  readonly state: string;
  /** Of a site that enforces: the key that it must have; undefined to learn it. */
  readonly pinned?: PublicSigningKey | undefined;
  /** How much of the link the site may take, as `parseBandwidth` reads it; all of it when absent. */
  readonly bandwidth?: string | undefined;
  /** Who asks, at a site that enforces; undefined for nobody in particular. */
  readonly signer?: SigningKey | undefined;
};

/** A place that is open, and its key where it has one; not held against any charter yet. */
export type OpenedPlace = { readonly site: Site; readonly key?: PublicSigningKey };

/** Opens whatever is at an address. Throws `site-unavailable`, and `untrusted` for another key than is pinned. */
export async function openAt(address: SiteAddress, options: OpenAt): Promise<OpenedPlace> {
  const { identity, state, pinned, signer } = options;
  const pace = paceOf(options);
  switch (address.kind) {
    case "directory":
      return { site: await openDirectorySite(address.path, identity) };
    case "remote": {
      // Loaded by who needs it: most commands start without.
      const { openRemoteSite } = await import("../sites/remote.ts");
      const site = await openRemoteSite({
        url: address.url,
        identity,
        state,
        site: pinned,
        signer,
        ...(pace ? { pace: pace.take } : {}),
      });
      return { site: breakingRemote(site), key: site.key };
    }
    case "s3": {
      const { openS3SiteFile } = await import("../sites/s3-file.ts");
      const site = await openS3SiteFile(address.file, identity, {
        verify: (name, bytes) => isNamedSo(name, bytes, state),
      });
      return { site: keepLocks(breaking(pace ? paced(site, pace) : site), site) };
    }
  }
}

function paceOf({ identity, bandwidth }: OpenAt): Bandwidth | undefined {
  if (bandwidth === undefined) return undefined;
  return new Bandwidth(parseBandwidth(bandwidth, `the bandwidth of site ${identity.name}`));
}
