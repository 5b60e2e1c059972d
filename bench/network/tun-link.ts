/**
 * A link in user space, where the kernel has no netem: a process of its own that forwards packets between TUN devices.
 *
 *   node tun-link.ts '{"devices": ["home", "a", "b"], "addresses": ["10.1.0.1", …], "shape": {…}}'
 *
 * The first device is home's end: what comes from it goes up the link, what goes to it comes down. It makes the devices
 * in the network namespace that it is started in, says `ready`, and whoever started it moves them to where they belong;
 * they go on working, and vanish with this process. Which ends when its standard input does, by a signal, or with the
 * caller.
 *
 * It sleeps in poll(2), reads every packet there is, and writes those that have arrived: no event loop, no threads.
 */
import { constants, openSync, readSync, writeSync } from "node:fs";
import { createRequire } from "node:module";
import { chances, PACKET_BYTES_MAX, PacketPipe } from "./packet-pipe.ts";
import type { LinkShape } from "./shape.ts";

/** linux/if_tun.h: packets without a header before them, of one queue. */
const TUNSETIFF = 0x400454ca;
const IFF_TUN = 0x0001;
const IFF_NO_PI = 0x1000;
const IFREQ_BYTES = 40;
const NAME_BYTES_MAX = 15;
const POLLIN = 0x0001;
const POLLFD_BYTES = 8;
/** Of packets from one device at a time, so that no end waits for another. */
const BATCH = 64;
const IPV4 = 4;
/** Of the address in an IPv4 header. */
const DESTINATION_AT = 16;

export type TunLinkOptions = {
  readonly devices: readonly string[];
  /** IPv4, in the order of the devices. */
  readonly addresses: readonly string[];
  readonly shape: LinkShape;
};

type Library = { func(definition: string): (...args: unknown[]) => unknown };

/** Throws where koffi is not installed. */
export function loadKoffi(): { load(path: string): Library; errno(): number } {
  return createRequire(import.meta.url)("koffi") as ReturnType<typeof loadKoffi>;
}

function openTun(name: string, ioctl: (...args: unknown[]) => unknown): number {
  if (name.length > NAME_BYTES_MAX) throw new Error(`a device cannot be called ${name}`);
  const fd = openSync("/dev/net/tun", constants.O_RDWR | constants.O_NONBLOCK);
  const request = Buffer.alloc(IFREQ_BYTES);
  request.write(name, "latin1");
  request.writeUInt16LE(IFF_TUN | IFF_NO_PI, 16);
  if (ioctl(fd, TUNSETIFF, request) !== 0) throw new Error(`the device ${name} cannot be made`);
  return fd;
}

/** An address as the number that stands in a packet. */
function addressOf(text: string): number {
  return text.split(".").reduce((sum, part) => sum * 256 + Number(part), 0);
}

/** Forwards until standard input ends. */
function forward({ devices, addresses, shape }: TunLinkOptions): void {
  const koffi = loadKoffi();
  const libc = koffi.load("libc.so.6");
  const ioctl = libc.func("int ioctl(int fd, unsigned long request, void *argument)");
  const poll = libc.func("int poll(void *fds, unsigned long count, int timeout)");
  const read = libc.func("int64_t read(int fd, void *into, uint64_t bytes)");
  const write = libc.func("int64_t write(int fd, void *from, uint64_t bytes)");

  const fds = devices.map((name) => openTun(name, ioctl));
  const byAddress = new Map(addresses.map((address, i) => [addressOf(address), fds[i]]));
  const [home] = fds;
  const chance = chances(shape.seed);
  const up = new PacketPipe(shape, chance);
  const down = new PacketPipe(shape, chance);
  const packet = Buffer.alloc(PACKET_BYTES_MAX);
  const polled = Buffer.alloc((fds.length + 1) * POLLFD_BYTES);
  for (const [i, fd] of [...fds, 0].entries()) {
    polled.writeInt32LE(fd, i * POLLFD_BYTES);
    polled.writeInt16LE(POLLIN, i * POLLFD_BYTES + 4);
  }
  const eventsOf = (i: number): number => polled.readInt16LE(i * POLLFD_BYTES + 6);

  const readAll = (fd: number): void => {
    const pipe = fd === home ? up : down;
    for (let i = 0; i < BATCH; i++) {
      const bytes = Number(read(fd, packet, PACKET_BYTES_MAX));
      if (bytes <= 0) return;
      if (packet.readUInt8(0) >> 4 === IPV4) {
        pipe.offer(packet.subarray(0, bytes), performance.now());
      }
    }
  };
  const deliver = (pipe: PacketPipe): void => {
    for (let one = pipe.take(performance.now()); one; one = pipe.take(performance.now())) {
      const to = byAddress.get(one.readUInt32BE(DESTINATION_AT));
      // A full device drops it, as any router would.
      if (to !== undefined) write(to, one, one.length);
    }
  };

  writeSync(1, "ready\n");
  for (;;) {
    const wait = Math.min(up.nextAtMs, down.nextAtMs) - performance.now();
    const timeoutMs = wait > 1e9 ? -1 : Math.max(0, Math.ceil(wait));
    poll(polled, fds.length + 1, timeoutMs);
    // Whatever comes in: a line asks for the counters, the end is the end.
    if (eventsOf(fds.length) !== 0) {
      if (readSync(0, packet) === 0) return;
      writeSync(1, `${JSON.stringify({ up: up.counters, down: down.counters })}\n`);
    }
    for (const [i, fd] of fds.entries()) if (eventsOf(i) !== 0) readAll(fd);
    deliver(up);
    deliver(down);
  }
}

if (import.meta.main) forward(JSON.parse(process.argv[2] ?? "{}") as TunLinkOptions);
