/** A systemd unit that runs a site with as few rights as it needs. */
import { dirname } from "node:path";

export type UnitOptions = {
  /** Of the site; absolute. */
  readonly folder: string;
  /** The Node that runs it, and `bin/exclave`; absolute. */
  readonly node: string;
  readonly program: string;
  /** Ports that it listens on. */
  readonly ports: readonly number[];
  /** Files outside the folder that it reads; absolute. */
  readonly reads: readonly string[];
};

export const UNIT_NAME = "exclave-site.service";
/** The user that the site runs as where systemd does not make one for it. */
export const UNIT_USER = "exclave-site";
const STATE_FOLDERS = "/var/lib";
const PRIVILEGED_PORTS_BELOW = 1024;
/** Twice what a site is built to need. */
const MEMORY_MAX = "1G";

/** The name of a folder that systemd keeps for a service and gives to a user of its own making; undefined elsewhere. */
export function stateDirectory(folder: string): string | undefined {
  return dirname(folder) === STATE_FOLDERS ? folder.slice(STATE_FOLDERS.length + 1) : undefined;
}

export function unitFile(options: UnitOptions): string {
  const { folder, node, program, ports, reads } = options;
  const kept = stateDirectory(folder);
  const listensLow = ports.some((port) => port > 0 && port < PRIVILEGED_PORTS_BELOW);
  const capability = listensLow ? "CAP_NET_BIND_SERVICE" : "";
  const who = kept
    ? ["DynamicUser=yes", `StateDirectory=${quoted(kept)}`, "StateDirectoryMode=0700"]
    : [`User=${UNIT_USER}`, `Group=${UNIT_USER}`, `ReadWritePaths=${quoted(folder)}`];
  return `# Exclave: a site that enforces. Written by \`exclave site init\`.
[Unit]
Description=Exclave site
Wants=network-online.target
After=network-online.target
RequiresMountsFor=${quoted(folder)}

[Service]
Type=exec
ExecStart=${[node, program, "site", "serve", "--folder", folder, "--json"].map(argument).join(" ")}
ExecReload=/bin/kill -HUP $MAINPID
Restart=always
RestartSec=2
TimeoutStopSec=60
${who.join("\n")}
UMask=0077
LimitNOFILE=16384
LimitCORE=0
MemoryHigh=768M
MemoryMax=${MEMORY_MAX}
TasksMax=128
OOMScoreAdjust=-500

# It writes in its folder, speaks over the network, and nothing else.
ProtectSystem=strict
ProtectHome=read-only
${reads.map((file) => `ReadOnlyPaths=${quoted(file)}\n`).join("")}PrivateTmp=yes
PrivateDevices=yes
NoNewPrivileges=yes
CapabilityBoundingSet=${capability}
AmbientCapabilities=${capability}
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
ProtectProc=invisible
ProcSubset=pid
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RemoveIPC=yes
LockPersonality=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged
SystemCallErrorNumber=EPERM
# Not MemoryDenyWriteExecute: Node compiles while it runs.

[Install]
WantedBy=multi-user.target
`;
}

/** A value in which `%` means itself (systemd.unit(5)); quoted where it has a space. */
function quoted(value: string): string {
  const text = value.replaceAll("%", "%%");
  return /^[0-9A-Za-z/._%@:+-]+$/.test(text)
    ? text
    : `"${text.replaceAll(/["\\]/g, (character) => `\\${character}`)}"`;
}

/** A word of a command line (systemd.service(5)), in which `$` means itself too. */
function argument(value: string): string {
  return quoted(value).replaceAll("$", "$$$$");
}
