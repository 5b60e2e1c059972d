/**
 * The file that says how an S3 site is reached. Home and a site's daemon name it ("s3:FILE"), so that the
 * credentials stand in no argument and in no setting of theirs:
 *
 *     { "endpoint": "https://s3.example.org", "region": "us-east-1", "bucket": "embassy", "prefix": "kn/",
 *       "pathStyle": true, "caFile": "ca.pem", "credentialsFile": "credentials.json" }
 *
 * Paths in it are relative to its folder.
 */
import { open } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { z } from "zod";
import { parseStrictJson } from "../crypto/strict-json.ts";
import { ExclaveError, isExclaveError } from "../errors.ts";
import { openS3Site, type S3Site, type S3SiteOptions } from "./s3.ts";
import { checkS3Config, type S3Config } from "./s3-config.ts";
import type { SiteIdentity } from "./site.ts";

const FILE_BYTES_MAX = 16 * 1024;

const text = z.string().max(1024);
const fileSchema = z.strictObject({
  endpoint: text,
  region: text.default("us-east-1"),
  bucket: text,
  prefix: text.default(""),
  pathStyle: z.boolean().default(true),
  caFile: text.min(1).optional(),
  credentialsFile: text.min(1),
  /** False: the bucket need not lock. For rehearsals; what is in it, credentials can destroy. */
  lock: z.boolean().default(true),
});

export type S3File = { readonly config: S3Config; readonly lock: boolean };

/** Reads the file, not yet the credentials. Throws `usage` when it is not there or has another form. */
export async function readS3File(path: string): Promise<S3File> {
  const parsed = fileSchema.safeParse(await readJsonFile(path));
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    const where = issue?.path.join(".") || "the whole";
    throw new ExclaveError(
      "usage",
      `${path} does not describe an S3 site: ${where}: ${issue?.message}`,
    );
  }
  const { lock, caFile, credentialsFile, ...rest } = parsed.data;
  const folder = dirname(resolve(path));
  const config: S3Config = {
    ...rest,
    ...(caFile === undefined ? {} : { caFile: resolve(folder, caFile) }),
    credentialsFile: resolve(folder, credentialsFile),
  };
  checkS3Config(config);
  return { config, lock };
}

/** Opens the site that the file describes; see `openS3Site`. */
export async function openS3SiteFile(
  path: string,
  identity: SiteIdentity,
  options: S3SiteOptions = {},
): Promise<S3Site> {
  const { config, lock } = await readS3File(path);
  return openS3Site(config, identity, { lock, ...options });
}

async function readJsonFile(path: string): Promise<unknown> {
  try {
    const handle = await open(path, "r");
    try {
      const { size } = await handle.stat();
      if (size > FILE_BYTES_MAX) throw new ExclaveError("usage", `${path} is too large`);
      return parseStrictJson(await handle.readFile(), { bytesMax: FILE_BYTES_MAX });
    } finally {
      await handle.close();
    }
  } catch (cause) {
    if (isExclaveError(cause, "usage")) throw cause;
    const why = isExclaveError(cause) ? `is not JSON: ${cause.message}` : "cannot be read";
    throw new ExclaveError("usage", `the S3 settings ${path} ${why}`, { cause });
  }
}
