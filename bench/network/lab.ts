/**
 * Home and some hosts, each a network namespace, with one link between home and all of them: home's line to the world.
 * By netem where the kernel has it, else by a process of our own (tun-link.ts). How it is shaped is the same.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { end, firstLine } from "./children.ts";
import {
  addNamespace,
  NotHere,
  removeNamespace,
  requireNamespaces,
  spawnIn,
  system,
} from "./namespaces.ts";
import { FAR_LINK, type LinkShape } from "./shape.ts";
import { loadKoffi, type TunLinkOptions } from "./tun-link.ts";

/** Ethernet frames carry 1500 bytes of IP; a TUN device the same without the frame. */
const MTU_BYTES = 1500;
/** So that packets are dropped on the link, by its rules, and not before it. */
const DEVICE_QUEUE_PACKETS = 5000;

export type LabHost = { readonly namespace: string; readonly address: string };

/** What has crossed one end's device since it was made, as the kernel counts it: IP packets, and frames around them. */
export type Wire = {
  readonly sentBytes: number;
  readonly sentPackets: number;
  readonly receivedBytes: number;
  readonly receivedPackets: number;
  /** Segments of TCP that this end has sent again. */
  readonly segmentsSentAgain: number;
};

export type Lab = {
  readonly means: "netem" | "own";
  /** In words. */
  readonly description: string;
  readonly home: LabHost;
  readonly hosts: readonly LabHost[];
  readonly shape: LinkShape;
  /** Bytes around a packet of IP in `Wire`. */
  readonly frameBytes: number;
  /** At each end of the link. */
  readonly wire: () => { readonly home: Wire; readonly hosts: readonly Wire[] };
  /** Of TCP, for what is started from now on, in every namespace. */
  readonly useCongestionControl: (name: string) => void;
  readonly close: () => Promise<void>;
};

/** The device's name in each namespace. */
const DEVICE = "link";
const NETWORK = "10.83.0.0/24";
const HOME_ADDRESS = "10.83.0.1";
const hostAddress = (i: number): string => `10.83.0.${11 + i}`;

/** Throws NotHere, with the reason, where it cannot be built. */
export async function openLab(hostNames: readonly string[], shape = FAR_LINK): Promise<Lab> {
  requireNamespaces();
  const namespaces: string[] = [];
  const undo: (() => Promise<void>)[] = [];
  const close = async (): Promise<void> => {
    for (const step of undo.splice(0).toReversed()) await step();
    for (const name of namespaces.splice(0)) removeNamespace(name);
  };
  try {
    const add = (role: string): string => {
      const name = addNamespace(role);
      namespaces.push(name);
      return name;
    };
    const home = { namespace: add("home"), address: HOME_ADDRESS };
    const hosts = hostNames.map((name, i) => ({ namespace: add(name), address: hostAddress(i) }));
    const ends = [home, ...hosts];
    // Something must be in a namespace for its counters to be read: a process that waits for its input to end.
    const holders = ends.map(({ namespace }) => {
      const holder = spawnIn(namespace, ["cat"], { stdio: ["pipe", "ignore", "ignore"] });
      undo.push(() => end(holder));
      return holder;
    });
    const hasNetem = isNetemThere(home.namespace);
    if (hasNetem) joinByNetem(add("world"), ends, shape);
    else undo.push(await joinByTun(ends, shape));
    return {
      means: hasNetem ? "netem" : "own",
      description: hasNetem
        ? "tc netem on veth"
        : "our own forwarder between TUN devices (this kernel has no netem)",
      home,
      hosts,
      shape,
      frameBytes: hasNetem ? ETHERNET_HEADER_BYTES : 0,
      wire: () => {
        const [atHome, ...atHosts] = holders.map(wireSeenBy);
        if (!atHome) throw new Error("the lab has no home");
        return { home: atHome, hosts: atHosts };
      },
      useCongestionControl: (name) => {
        for (const end of ends) setCongestionControl(end, name);
      },
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

const ETHERNET_HEADER_BYTES = 14;

function isNetemThere(namespace: string): boolean {
  try {
    system("tc", "-n", namespace, "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms");
    system("tc", "-n", namespace, "qdisc", "del", "dev", "lo", "root");
    return true;
  } catch {
    return false;
  }
}

/** Veth pairs to a bridge in a namespace between; netem where home's packets go out, and where those for home do. */
function joinByNetem(world: string, ends: readonly LabHost[], shape: LinkShape): void {
  system("ip", "-n", world, "link", "add", "bridge", "type", "bridge");
  system("ip", "-n", world, "link", "set", "bridge", "up");
  for (const [i, { namespace, address }] of ends.entries()) {
    const port = `port${i}`;
    const pair = ["link", "add", DEVICE, "type", "veth", "peer", "name", port, "netns", world];
    system("ip", "-n", namespace, ...pair);
    // Segments are made before netem, or it would lose up to 64 KiB at a time.
    for (const [where, device] of [[namespace, DEVICE] as const, [world, port] as const]) {
      system(
        "ip",
        "-n",
        where,
        "link",
        "set",
        "dev",
        device,
        "gso_max_segs",
        "1",
        "mtu",
        `${MTU_BYTES}`,
      );
    }
    system("ip", "-n", world, "link", "set", port, "master", "bridge", "up");
    bringUp(namespace, address);
  }
  const netem = netemOf(shape);
  const [home] = ends;
  for (const [where, device] of [
    [home?.namespace ?? "", DEVICE] as const,
    [world, "port0"] as const,
  ]) {
    system("tc", "-n", where, "qdisc", "add", "dev", device, "root", ...netem);
  }
}

function netemOf({ bitsPerSecond, roundTripMs, loss, queueBytes, seed }: LinkShape): string[] {
  // netem's queue holds what is delayed, too.
  const underWay = ((bitsPerSecond / 8) * roundTripMs) / 2000;
  const packets = Math.ceil((queueBytes + underWay) / MTU_BYTES);
  const base = ["netem", "delay", `${roundTripMs / 2}ms`, "loss", "random", `${loss * 100}%`];
  return [...base, "rate", `${bitsPerSecond}bit`, "limit", `${packets}`, "seed", `${seed}`];
}

async function joinByTun(ends: readonly LabHost[], shape: LinkShape): Promise<() => Promise<void>> {
  try {
    loadKoffi();
  } catch {
    throw new NotHere(
      "the kernel has no netem, and koffi, with which we forward, is not installed",
    );
  }
  const devices = ends.map((_, i) => `exl${process.pid}n${i}`);
  const options: TunLinkOptions = { devices, addresses: ends.map(({ address }) => address), shape };
  const script = join(import.meta.dirname, "tun-link.ts");
  const forwarder = spawn(process.execPath, [script, JSON.stringify(options)], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  const close = (): Promise<void> => end(forwarder);
  try {
    if ((await firstLine(forwarder)) !== "ready") throw new NotHere("no TUN devices can be made");
    for (const [i, { namespace, address }] of ends.entries()) {
      system("ip", "link", "set", devices[i] ?? "", "netns", namespace, "name", DEVICE);
      const mtu = ["mtu", `${MTU_BYTES}`, "txqueuelen", `${DEVICE_QUEUE_PACKETS}`];
      system("ip", "-n", namespace, "link", "set", "dev", DEVICE, ...mtu, "addrgenmode", "none");
      bringUp(namespace, address);
    }
  } catch (error) {
    await close();
    throw error;
  }
  return close;
}

function bringUp(namespace: string, address: string): void {
  system("ip", "-n", namespace, "addr", "add", `${address}/24`, "dev", DEVICE);
  system("ip", "-n", namespace, "link", "set", "dev", DEVICE, "up");
}

/** By the route: the system's own setting can be had in a namespace only for what it has allowed beforehand. */
function setCongestionControl({ namespace, address }: LabHost, name: string): void {
  const route = ["route", "replace", NETWORK, "dev", DEVICE, "src", address];
  system("ip", "-n", namespace, ...route, "congctl", name);
}

function wireSeenBy({ pid }: ChildProcess): Wire {
  const read = (file: string): string => readFileSync(`/proc/${pid}/net/${file}`, "latin1");
  const line = new RegExp(`^\\s*${DEVICE}:(.*)$`, "m").exec(read("dev"))?.[1] ?? "";
  const counted = line.trim().split(/\s+/).map(Number);
  // Two lines tell of TCP: names, then values.
  const [names = [], values = []] = read("snmp")
    .split("\n")
    .filter((one) => one.startsWith("Tcp:"))
    .map((one) => one.split(" "));
  return {
    receivedBytes: counted[0] ?? 0,
    receivedPackets: counted[1] ?? 0,
    sentBytes: counted[8] ?? 0,
    sentPackets: counted[9] ?? 0,
    segmentsSentAgain: Number(values[names.indexOf("RetransSegs")] ?? 0),
  };
}

/** Whether the kernel offers it. */
export function hasCongestionControl(name: string): boolean {
  const path = "/proc/sys/net/ipv4/tcp_available_congestion_control";
  return readFileSync(path, "utf8").trim().split(" ").includes(name);
}
