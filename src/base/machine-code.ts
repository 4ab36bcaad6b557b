/**
 * Programs of a few dozen instructions, assembled here into static ELF files: for what a process of this kind cannot do itself, so that
 * no compiler and no package is needed. Linux, amd64 and arm64.
 */

/** Machine code with labels: a string marks a place, `jump` goes to one. */
export type Code = readonly (
  | readonly number[]
  | string
  | { readonly jump: string; readonly kind: 'jmp' | 'je' | 'jne' | 'jg' }
)[];

export function le32(n: number): number[] {
  return [n & 0xff, (n >> 8) & 0xff, (n >> 16) & 0xff, (n >>> 24) & 0xff];
}

/** `movz xN, #imm` and its relatives, as words of arm64. */
export const movz = (register: number, value: number, shift = 0): number[] =>
  le32((0xd2800000 | ((shift / 16) << 21) | (value << 5) | register) >>> 0);
export const movk = (register: number, value: number, shift: number): number[] =>
  le32((0xf2800000 | ((shift / 16) << 21) | (value << 5) | register) >>> 0);
/** `cmp wN, #imm` */
export const cmp = (register: number, value: number): number[] =>
  le32((0x7100001f | (value << 10) | (register << 5)) >>> 0);
/** `svc #0` */
export const svc = le32(0xd4000001);

/** `b` and `b.cond`: the conditions are eq, ne and gt. */
const armConditions = { je: 0, jne: 1, jg: 12 } as const;
const x86Jumps = { jmp: 0xeb, je: 0x74, jne: 0x75, jg: 0x7f } as const;

function assemble(code: Code, arm: boolean): Buffer {
  const jumpSize = arm ? 4 : 2;
  const labels = new Map<string, number>();
  let at = 0;
  for (const part of code) {
    if (typeof part === 'string') labels.set(part, at);
    else at += 'jump' in part ? jumpSize : part.length;
  }
  const out: number[] = [];
  for (const part of code) {
    if (typeof part === 'string') continue;
    if (!('jump' in part)) {
      out.push(...part);
      continue;
    }
    const target = labels.get(part.jump)!;
    if (!arm) out.push(x86Jumps[part.kind], (target - (out.length + 2)) & 0xff);
    else {
      const words = (target - out.length) / 4;
      if (part.kind === 'jmp') out.push(...le32((0x14000000 | (words & 0x3ffffff)) >>> 0));
      else out.push(...le32((0x54000000 | ((words & 0x7ffff) << 5) | armConditions[part.kind]) >>> 0));
    }
  }
  return Buffer.from(out);
}

const base = 0x400000;
const headers = 64 + 56;

/** A program for each architecture, told where its data will be; its length must not depend on that. */
export interface Programs {
  amd64(data: number): Code;
  arm64(data: number): Code;
}

/**
 * The program for an architecture as Go names them, its data behind its code; undefined for an architecture that it was not
 * written for.
 */
export function elfProgram(
  architecture: string,
  programs: Programs,
  data: Buffer = Buffer.alloc(0),
): Buffer | undefined {
  const arm = architecture === 'arm64';
  if (!arm && architecture !== 'amd64') return undefined;
  const code = (at: number): Buffer => assemble(arm ? programs.arm64(at) : programs.amd64(at), arm);
  const text = code(base + headers + code(base).length);
  const elf = Buffer.alloc(headers + text.length + data.length);
  const size = elf.length;
  // ELF header: 64 bits, little endian, executable.
  Buffer.from([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1, 0]).copy(elf);
  elf.writeUInt16LE(2, 16);
  elf.writeUInt16LE(arm ? 183 : 62, 18);
  elf.writeUInt32LE(1, 20);
  elf.writeBigUInt64LE(BigInt(base + headers), 24);
  elf.writeBigUInt64LE(64n, 32);
  elf.writeUInt16LE(64, 52);
  elf.writeUInt16LE(56, 54);
  elf.writeUInt16LE(1, 56);
  elf.writeUInt16LE(64, 58);
  // One segment: everything, readable and executable.
  elf.writeUInt32LE(1, 64);
  elf.writeUInt32LE(5, 68);
  elf.writeBigUInt64LE(BigInt(base), 80);
  elf.writeBigUInt64LE(BigInt(base), 88);
  elf.writeBigUInt64LE(BigInt(size), 96);
  elf.writeBigUInt64LE(BigInt(size), 104);
  elf.writeBigUInt64LE(0x10000n, 112);
  text.copy(elf, headers);
  data.copy(elf, headers + text.length);
  return elf;
}
