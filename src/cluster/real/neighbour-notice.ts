/**
 * Tells everybody on a network that an address is at this machine now: gratuitous ARP, unsolicited neighbour advertisements. Without it
 * neighbours go on sending to the machine that had it before, until they notice. Such frames are sent over packet sockets, which this
 * process has no way to open: a program of a few instructions is made for each notice, with the frames in it.
 */
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Code, Programs } from '../../base/machine-code.ts';
import { cmp, elfProgram, le32, movk, movz, svc } from '../../base/machine-code.ts';
import { parseIp } from '../../base/ip.ts';

export interface Notice {
  /** An address that this machine answers for on the device's network. */
  readonly address: string;
  readonly device: { readonly index: number; /** `aa:bb:cc:dd:ee:ff` */ readonly hardware: string };
  /** One of the device's own addresses of the same family. */
  readonly from: string;
}

const packetFamily = 17;
const rawSocket = 3;
/** Of one frame: 24 bytes for where it goes, 8 for its length, the rest for itself. */
const entrySize = 128;
const frameAt = 32;
const everybody = 'ff:ff:ff:ff:ff:ff';
const allNodes = '33:33:00:00:00:01';

const hardware = (text: string): Buffer => Buffer.from(text.replaceAll(':', ''), 'hex');

function bytesOf(address: string): Buffer {
  const ip = parseIp(address)!;
  return Buffer.from(ip.value.toString(16).padStart(ip.family === 4 ? 8 : 32, '0'), 'hex');
}

const u16 = (n: number): Buffer => Buffer.from([n >> 8, n & 0xff]);

/** Both forms that are in use: a request of an address for itself, and an answer that nobody asked for. */
function arpFrames(notice: Notice): Buffer[] {
  const mac = hardware(notice.device.hardware);
  const ip = bytesOf(notice.address);
  const head = Buffer.concat([hardware(everybody), mac, u16(0x0806), u16(1), u16(0x0800), Buffer.from([6, 4])]);
  return [Buffer.concat([head, u16(1), mac, ip, Buffer.alloc(6), ip]), Buffer.concat([head, u16(2), mac, ip, mac, ip])];
}

/** Of RFC 1071, over everything and a pseudo header. */
function checksum(data: Buffer): number {
  let sum = 0;
  for (let i = 0; i < data.length; i += 2) sum += data.readUInt16BE(i);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

/** RFC 4861, 7.2.6: to all nodes, with the override flag; the router flag, as of one that forwards. */
function advertisement(notice: Notice): Buffer {
  const mac = hardware(notice.device.hardware);
  const source = bytesOf(notice.from);
  const target = bytesOf('ff02::1');
  const icmp = Buffer.concat([
    Buffer.from([136, 0, 0, 0, 0xa0, 0, 0, 0]),
    bytesOf(notice.address),
    Buffer.from([2, 1]),
    mac,
  ]);
  const pseudo = Buffer.concat([source, target, Buffer.from([0, 0, 0, icmp.length, 0, 0, 0, 58])]);
  icmp.writeUInt16BE(checksum(Buffer.concat([pseudo, icmp])), 2);
  const header = Buffer.from([0x60, 0, 0, 0, 0, icmp.length, 58, 255]);
  return Buffer.concat([hardware(allNodes), mac, u16(0x86dd), header, source, target, icmp]);
}

function entry(device: Notice['device'], frame: Buffer): Buffer {
  const out = Buffer.alloc(entrySize);
  // struct sockaddr_ll
  out.writeUInt16LE(packetFamily, 0);
  frame.copy(out, 2, 12, 14);
  out.writeInt32LE(device.index, 4);
  out[11] = 6;
  frame.copy(out, 12, 0, 6);
  out.writeBigUInt64LE(BigInt(frame.length), 24);
  frame.copy(out, frameAt);
  return out;
}

/** socket(), sendto() for each entry, exit(); its exit code is the error's number. */
const sender = (count: number): Programs => ({
  amd64: (data): Code => [
    [0xbd, ...le32(data)], // mov ebp, data
    [0x41, 0xbc, ...le32(count)], // mov r12d, count
    [0xbf, ...le32(packetFamily)], // mov edi, AF_PACKET
    [0xbe, ...le32(rawSocket)], // mov esi, SOCK_RAW
    [0x31, 0xd2], // xor edx, edx
    [0xb8, ...le32(41)], // mov eax, 41 (socket)
    [0x0f, 0x05], // syscall
    [0x89, 0xc3], // mov ebx, eax
    [0x85, 0xc0], // test eax, eax
    { jump: 'send', kind: 'jg' },
    'fail',
    [0x89, 0xc7], // mov edi, eax
    [0xf7, 0xdf], // neg edi
    [0xb8, ...le32(231)], // mov eax, 231 (exit_group)
    [0x0f, 0x05], // syscall
    'send',
    [0x89, 0xdf], // mov edi, ebx
    [0x48, 0x8d, 0x75, frameAt], // lea rsi, [rbp+32]
    [0x48, 0x8b, 0x55, 24], // mov rdx, [rbp+24]
    [0x45, 0x31, 0xd2], // xor r10d, r10d
    [0x49, 0x89, 0xe8], // mov r8, rbp
    [0x41, 0xb9, ...le32(20)], // mov r9d, 20
    [0xb8, ...le32(44)], // mov eax, 44 (sendto)
    [0x0f, 0x05], // syscall
    [0x85, 0xc0], // test eax, eax
    { jump: 'next', kind: 'jg' },
    { jump: 'fail', kind: 'jmp' },
    'next',
    [0x48, 0x81, 0xc5, ...le32(entrySize)], // add rbp, 128
    [0x41, 0x83, 0xec, 1], // sub r12d, 1
    { jump: 'send', kind: 'jne' },
    [0x31, 0xff], // xor edi, edi
    [0xb8, ...le32(231)], // mov eax, 231
    [0x0f, 0x05], // syscall
  ],
  arm64: (data): Code => [
    movz(20, data & 0xffff),
    movk(20, data >>> 16, 16),
    movz(21, count),
    movz(0, packetFamily),
    movz(1, rawSocket),
    movz(2, 0),
    movz(8, 198), // socket
    svc,
    le32(0x2a0003f3), // mov w19, w0
    cmp(0, 0),
    { jump: 'send', kind: 'jg' },
    'fail',
    le32(0x4b0003e0), // neg w0, w0
    movz(8, 94), // exit_group
    svc,
    'send',
    le32(0x2a1303e0), // mov w0, w19
    le32(0x91008281), // add x1, x20, #32
    le32(0xf9400e82), // ldr x2, [x20, #24]
    movz(3, 0),
    le32(0xaa1403e4), // mov x4, x20
    movz(5, 20),
    movz(8, 206), // sendto
    svc,
    cmp(0, 0),
    { jump: 'next', kind: 'jg' },
    { jump: 'fail', kind: 'jmp' },
    'next',
    le32(0x91020294), // add x20, x20, #128
    le32(0x710006b5), // subs w21, w21, #1
    { jump: 'send', kind: 'jne' },
    movz(0, 0),
    movz(8, 94),
    svc,
  ],
});

/** The program that sends these; undefined where there is none for this machine. */
export function noticeProgram(notices: readonly Notice[], architecture: string): Buffer | undefined {
  const entries = notices.flatMap((n) => {
    const frames = parseIp(n.address)!.family === 4 ? arpFrames(n) : [advertisement(n)];
    return frames.map((f) => entry(n.device, f));
  });
  return elfProgram(architecture, sender(entries.length), Buffer.concat(entries));
}

/** Sends the notices once. Rejects when that is not possible; false where this machine has no program for it. */
export async function sendNotices(notices: readonly Notice[]): Promise<boolean> {
  const program = noticeProgram(notices, process.arch === 'x64' ? 'amd64' : process.arch);
  if (program === undefined || notices.length === 0) return false;
  const dir = await mkdtemp(join(tmpdir(), 'knarr-notice-'));
  try {
    const path = join(dir, 'notice');
    await writeFile(path, program, { mode: 0o700 });
    await new Promise<void>((resolve, reject) => {
      execFile(path, (error) => {
        if (error === null) resolve();
        else reject(new Error(`sending neighbour notices failed (${error.code ?? 'unknown'})`, { cause: error }));
      });
    });
    return true;
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}
