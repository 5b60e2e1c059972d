/** restic, with its repository at one host of the lab, over its sftp backend: an OpenSSH server there, ssh at home. */
import type { ChildProcess } from "node:child_process";
import { existsSync, mkdirSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { type Command, run } from "../measure.ts";
import { versionOf } from "../tools/tool.ts";
import { end } from "./children.ts";
import type { Lab } from "./lab.ts";
import { inNamespace, NotHere, spawnIn, system } from "./namespaces.ts";

/** It starts itself anew for each connection, and so must be called by its whole path. */
const SSHD_PATHS = ["/usr/sbin/sshd", "/usr/bin/sshd"] as const;
/** Of the server when it is started as root, made by packages at boot. */
const PRIVILEGE_FOLDER = "/run/sshd";
const PORT = 2022;
const ANSWERS_WITHIN_MS = 10_000;

export type LabRepository = {
  readonly protect: Command;
  readonly restore: (to: string) => Command;
  readonly folder: string;
  readonly close: () => Promise<void>;
};

/** Throws NotHere, saying what is missing. */
export function requireResticOverSftp(): void {
  if (!versionOf("restic", "version")) throw new NotHere("restic is not installed");
  if (!SSHD_PATHS.some((path) => existsSync(path))) throw new NotHere("sshd is not installed");
  for (const program of ["ssh", "ssh-keygen"]) system("which", program);
}

/** A repository at the first host. Throws NotHere where the server does not start. */
export async function resticInLab(
  lab: Lab,
  directory: string,
  corpus: string,
): Promise<LabRepository> {
  const [host] = lab.hosts;
  const sshd = SSHD_PATHS.find((path) => existsSync(path));
  if (!host || !sshd) throw new NotHere("sshd is not installed");
  mkdirSync(directory, { recursive: true });
  mkdirSync(PRIVILEGE_FOLDER, { recursive: true, mode: 0o755 });
  const key = (name: string): string => {
    const file = join(directory, name);
    system("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", file);
    return file;
  };
  const [hostKey, homeKey] = [key("host-key"), key("home-key")];
  const settings = {
    Port: PORT,
    ListenAddress: host.address,
    HostKey: hostKey,
    AuthorizedKeysFile: `${homeKey}.pub`,
    PidFile: "none",
    StrictModes: "no",
    UsePAM: "no",
    PermitRootLogin: "prohibit-password",
    PasswordAuthentication: "no",
    Subsystem: "sftp internal-sftp",
  };
  const options = Object.entries(settings).flatMap(([name, value]) => ["-o", `${name}=${value}`]);
  const server = spawnIn(host.namespace, [sshd, "-D", "-e", "-f", "/dev/null", ...options], {
    stdio: "ignore",
  });
  try {
    await answering(lab, server);
    const folder = join(directory, "repository");
    const flags = {
      BatchMode: "yes",
      StrictHostKeyChecking: "no",
      UserKnownHostsFile: "/dev/null",
      LogLevel: "ERROR",
    };
    const given = Object.entries(flags).map(([name, value]) => `-o ${name}=${value}`);
    const to = `root@${host.address} -s sftp`;
    const ssh = `ssh -i ${homeKey} -p ${PORT} ${given.join(" ")} ${to}`;
    const restic = (...args: readonly string[]): Command => ({
      argv: inNamespace(lab.home.namespace, ["restic", "-o", `sftp.command=${ssh}`, ...args]),
      env: {
        RESTIC_REPOSITORY: `sftp:root@${host.address}:${folder}`,
        RESTIC_PASSWORD: "benchmark",
        RESTIC_CACHE_DIR: join(directory, "cache"),
      },
      cwd: corpus,
    });
    run(restic("init", "--repository-version", "2"));
    return {
      protect: restic("backup", "--compression", "auto", "."),
      restore: (to) => restic("restore", "latest", "--target", to),
      folder,
      close: () => end(server),
    };
  } catch (error) {
    await end(server);
    throw error;
  }
}

/** Resolves when the server takes connections, in its namespace. */
async function answering(lab: Lab, server: ChildProcess): Promise<void> {
  const host = lab.hosts[0]?.address ?? "";
  const until = performance.now() + ANSWERS_WITHIN_MS;
  while (performance.now() < until && server.exitCode === null) {
    const probe = spawnIn(
      lab.home.namespace,
      [process.execPath, import.meta.filename, "probe", host],
      { stdio: "ignore" },
    );
    const code = await new Promise((resolve) => probe.once("exit", resolve));
    if (code === 0) return;
    await delay(200);
  }
  throw new NotHere("sshd does not start");
}

if (import.meta.main && process.argv[2] === "probe") {
  const socket = connect({ host: process.argv[3] ?? "", port: PORT });
  socket.once("connect", () => socket.destroy());
  socket.once("error", () => {
    process.exitCode = 1;
  });
}
