/** What an S3 engine's promises are worth: tried for real, and kept, signed, at home. */
import { randomBytes } from "node:crypto";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { toHex } from "../crypto/bytes.ts";
import { signEnvelope } from "../crypto/dsse.ts";
import { encodeJson } from "../crypto/strict-json.ts";
import { ExclaveError } from "../errors.ts";
import { writeDurably } from "../sites/durable.ts";
import { probeS3 } from "../sites/probe.ts";
import type { ProbeReport } from "../sites/probe-report.ts";
import { readS3File } from "../sites/s3-file.ts";
import type { Home, SiteConfig } from "../vault/home.ts";
import { parseSiteAddress } from "../vault/site-address.ts";

const TYPE = "application/vnd.exclave.s3-probe.v1+json";
const FOLDER = "probes";

export type KeptProbe = {
  readonly report: ProbeReport;
  /** Where the signed report is kept. */
  readonly file: string;
  /** The site's file says that its bucket need not lock: for rehearsals. */
  readonly lock: boolean;
};

/**
 * Probes the engine of a site and keeps the report, signed by this home's agent. Throws `usage` for a site that is no
 * bucket, and as `probeS3` does.
 */
export async function probeSite(home: Home, { name, at }: SiteConfig): Promise<KeptProbe> {
  const address = parseSiteAddress(at);
  if (address.kind !== "s3") {
    throw new ExclaveError(
      "usage",
      `site ${name} is no bucket: there is no engine to try. Its objects are tried by exclave check`,
    );
  }
  const { config, lock } = await readS3File(address.file);
  const report = await probeS3(config);
  const random = toHex(randomBytes(16));
  const payload = encodeJson({ ...report, state: home.state, site: name, random });
  const envelope = signEnvelope(TYPE, payload, [home.agent]);
  const folder = join(home.path, FOLDER);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const file = join(folder, `${name}-${report.probedAt.replaceAll(/[^0-9TZ]/g, "")}.json`);
  await writeDurably(file, `${file}.${random}`, [envelope]);
  return { report, file, lock };
}
