import { readFileSync } from "node:fs";

/** Who is who on this machine. Names are binary strings, as they stand in the files. */
export interface OwnerNames {
  userName(uid: number): string | undefined;
  groupName(gid: number): string | undefined;
  uidOf(name: string): number | undefined;
  gidOf(name: string): number | undefined;
}

/**
 * Reads `/etc/passwd` and `/etc/group` once. Users that only a directory service knows stay numbers;
 * asking one (`getent`) for every owner would make a restore wait on a network that may be gone.
 */
export function loadOwnerNames(passwdPath = "/etc/passwd", groupPath = "/etc/group"): OwnerNames {
  const users = readTable(passwdPath);
  const groups = readTable(groupPath);
  return {
    userName: (uid) => users.names.get(uid),
    groupName: (gid) => groups.names.get(gid),
    uidOf: (name) => users.ids.get(name),
    gidOf: (name) => groups.ids.get(name),
  };
}

interface Table {
  readonly names: ReadonlyMap<number, string>;
  readonly ids: ReadonlyMap<string, number>;
}

/** `name:password:id:...` lines; of several for one id or name the first counts, as in libc. */
function readTable(path: string): Table {
  const names = new Map<number, string>();
  const ids = new Map<string, number>();
  let text: string;
  try {
    text = readFileSync(path, "latin1");
  } catch {
    return { names, ids };
  }
  for (const line of text.split("\n")) {
    const [name, , id] = line.split(":");
    if (name === undefined || id === undefined || !/^[^+#-]/.test(name)) continue;
    if (!/^[0-9]{1,10}$/.test(id)) continue;
    const number = Number(id);
    if (!names.has(number)) names.set(number, name);
    if (!ids.has(name)) ids.set(name, number);
  }
  return { names, ids };
}
