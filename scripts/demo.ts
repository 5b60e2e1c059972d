/**
 * `npm start`: the demonstration. Where a Ceph can be started on this machine, one of the host countries stores in it;
 * `EXCLAVE_DEMO_S3=FILE` names another engine, and `EXCLAVE_DEMO_S3=` none.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CreateBucketCommand } from "@aws-sdk/client-s3";
import { type Ceph, cephMissing, startCeph } from "../test/support/ceph.ts";
import { sdkFor } from "../test/support/s3.ts";

const BIN = join(import.meta.dirname, "../bin/exclave");
const BUCKET = "embassy";

/** Runs the demo to its end. A signal from the terminal reaches it by itself. */
async function demo(engine: Readonly<Record<string, string>>): Promise<void> {
  const child = spawn(process.execPath, [BIN, "demo", ...process.argv.slice(2)], {
    stdio: "inherit",
    env: { ...process.env, ...engine },
  });
  for (const signal of ["SIGINT", "SIGHUP"] as const) process.on(signal, () => undefined);
  process.on("SIGTERM", () => child.kill("SIGTERM"));
  const [code] = (await once(child, "exit")) as [number | null];
  process.exitCode = code ?? 1;
}

/** A bucket with Object Lock, and the file that says how it is reached. */
async function makeEngine(ceph: Ceph, folder: string): Promise<string> {
  const { endpoint, accessKeyId, secretAccessKey } = ceph;
  const sdk = sdkFor(ceph);
  await sdk.send(new CreateBucketCommand({ Bucket: BUCKET, ObjectLockEnabledForBucket: true }));
  sdk.destroy();
  const credentialsFile = join(folder, "credentials.json");
  const place = {
    endpoint,
    region: "default",
    bucket: BUCKET,
    prefix: "exclave/",
    pathStyle: true,
  };
  const file = join(folder, "engine.json");
  await writeFile(credentialsFile, JSON.stringify({ accessKeyId, secretAccessKey }), {
    mode: 0o600,
  });
  await writeFile(file, JSON.stringify({ ...place, credentialsFile }), { mode: 0o600 });
  return file;
}

const missing = cephMissing();
if (process.env.EXCLAVE_DEMO_S3 !== undefined) await demo({});
else if (missing !== undefined) {
  console.error(`All host countries store on disks: ${missing}.`);
  await demo({});
} else {
  console.error("Starting a Ceph, in which one of the host countries stores …");
  const folder = await mkdtemp(join(tmpdir(), "exclave-engine-"));
  const ceph = await startCeph();
  try {
    await demo({ EXCLAVE_DEMO_S3: await makeEngine(ceph, folder) });
  } finally {
    await ceph.stop();
    await rm(folder, { recursive: true, force: true });
  }
}
