/** Where an S3 site is and with what it is opened: the setting, the credentials file, the address of a key. */
import { open } from "node:fs/promises";
import { isIP } from "node:net";
import { z } from "zod";
import { parseStrictJson } from "../crypto/strict-json.ts";
import { ExclaveError, isExclaveError } from "../errors.ts";

/** What home notes of an S3 site. It holds no secret. */
export type S3Config = {
  /** "https://s3.example.org" or "http://127.0.0.1:7480"; no path. */
  readonly endpoint: string;
  /** What requests are signed for: "us-east-1"; Ceph takes any. */
  readonly region: string;
  readonly bucket: string;
  /** Before every key: "" or "grenada/", so that one bucket can hold several sites. */
  readonly prefix: string;
  /** True: https://host/bucket/key. False: https://bucket.host/key. */
  readonly pathStyle: boolean;
  /** PEM of the certificate authority that alone is believed; without it, those of Node. */
  readonly caFile?: string;
  /** JSON with `accessKeyId` and `secretAccessKey`, readable by its owner alone. */
  readonly credentialsFile: string;
};

export type S3Credentials = { readonly accessKeyId: string; readonly secretAccessKey: string };

/** AWS allows 128 for either. */
const CREDENTIAL_CHARACTERS_MAX = 256;
const CREDENTIALS_BYTES_MAX = 4096;
const OTHERS_MAY_READ = 0o077;
/** Characters that go over the wire as they are, so that signature and request cannot disagree about a key. */
const PREFIX = /^(?:[0-9A-Za-z][0-9A-Za-z._-]{0,63}\/){0,8}$/;
const BUCKET = /^[0-9a-z](?:[0-9a-z-]|\.(?=[0-9a-z])){1,61}[0-9a-z]$/;
const REGION = /^[0-9A-Za-z-]{1,64}$/;

const credential = z
  .string()
  .min(1)
  .max(CREDENTIAL_CHARACTERS_MAX)
  .regex(/^[\x21-\x7e]+$/);
const credentialsSchema = z.strictObject({ accessKeyId: credential, secretAccessKey: credential });

/** Throws `usage` when a setting could not work, or would sign something else than it sends. */
export function checkS3Config(config: S3Config): void {
  const { endpoint, bucket, prefix, region, pathStyle } = config;
  const url = URL.canParse(endpoint) ? new URL(endpoint) : undefined;
  const wrong =
    !url || !/^https?:$/.test(url.protocol) || url.pathname !== "/" || url.search || url.hash
      ? "the endpoint must be http:// or https:// and a host, and nothing behind it"
      : url.username || url.password
        ? "the endpoint must hold no user and no password; they belong into the credentials file"
        : !BUCKET.test(bucket)
          ? "the bucket's name must be 3 to 63 of a-z, 0-9, - and ."
          : !PREFIX.test(prefix)
            ? 'the prefix must be empty, or folders of 0-9, A-Z, a-z, ., _ and - that each end with "/"'
            : !REGION.test(region)
              ? "the region must be a short word, such as us-east-1"
              : !pathStyle && isIP(url.hostname.replace(/^\[|\]$/g, "")) > 0
                ? "an address instead of a host's name needs pathStyle"
                : undefined;
  if (wrong) throw new ExclaveError("usage", `an S3 site cannot be opened so: ${wrong}`);
}

/**
 * Reads a credentials file. Throws `usage` when it is not there or has another form, and when anyone but
 * its owner may read it: a key that others have read is theirs too.
 */
export async function readS3Credentials(path: string): Promise<S3Credentials> {
  const bytes = await readSecretFile(path).catch((cause: unknown) => {
    if (isExclaveError(cause)) throw cause;
    throw new ExclaveError("usage", `the credentials file ${path} cannot be read`, { cause });
  });
  const parsed = credentialsSchema.safeParse(readJson(path, bytes));
  if (parsed.success) return parsed.data;
  // What zod says of it could quote what is in it.
  throw malformedCredentials(path);
}

async function readSecretFile(path: string): Promise<Uint8Array> {
  const handle = await open(path, "r");
  try {
    const { mode, size } = await handle.stat();
    if (process.platform !== "win32" && (mode & OTHERS_MAY_READ) !== 0) {
      throw new ExclaveError(
        "usage",
        `others than its owner may read the credentials file ${path}. Change it with: chmod 600 ${path}; and ask for new credentials if anyone could have read it`,
      );
    }
    if (size > CREDENTIALS_BYTES_MAX) throw malformedCredentials(path);
    return await handle.readFile();
  } finally {
    await handle.close();
  }
}

function readJson(path: string, bytes: Uint8Array): unknown {
  try {
    return parseStrictJson(bytes, { bytesMax: CREDENTIALS_BYTES_MAX });
  } catch {
    throw malformedCredentials(path);
  }
}

function malformedCredentials(path: string): ExclaveError {
  return new ExclaveError(
    "usage",
    `the credentials file ${path} must be JSON with "accessKeyId" and "secretAccessKey", and nothing else`,
  );
}

/** The address of a key, or of the bucket; every value of the query is encoded as RFC 3986 has it. */
export function s3Url(
  config: S3Config,
  key: string,
  query: Readonly<Record<string, string>> = {},
): URL {
  const url = new URL(config.endpoint);
  if (config.pathStyle) url.pathname = `/${config.bucket}${key === "" ? "" : `/${key}`}`;
  else {
    url.hostname = `${config.bucket}.${url.hostname}`;
    url.pathname = `/${key}`;
  }
  url.search = Object.entries(query)
    .map(([name, value]) => `${encode(name)}=${encode(value)}`)
    .join("&");
  return url;
}

function encode(value: string): string {
  const byHand = (character: string): string =>
    `%${character.charCodeAt(0).toString(16).toUpperCase()}`;
  return encodeURIComponent(value).replace(/[!'()*]/g, byHand);
}
