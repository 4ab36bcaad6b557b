/**
 * The pause program: what holds a pod's namespaces. A static ELF of a few dozen instructions, assembled here, so that no registry
 * and no compiler is needed to start a pod. It waits for signals: ends on SIGTERM and SIGINT, and reaps what is orphaned.
 */

/** Machine code with labels: a string marks a place, `jump` goes to one. */
type Code = readonly (
  | readonly number[]
  | string
  | { readonly jump: string; readonly kind: 'jmp' | 'je' | 'jne' | 'jg' }
)[];

/** SIGINT, SIGTERM and SIGCHLD as the kernel's signal set. */
const signals = (1 << 1) | (1 << 14) | (1 << 16);

function le32(n: number): number[] {
  return [n & 0xff, (n >> 8) & 0xff, (n >> 16) & 0xff, (n >>> 24) & 0xff];
}

const amd64: Code = [
  [0x68, ...le32(signals)], // push signals
  // rt_sigprocmask(SIG_BLOCK, rsp, 0, 8): blocked signals wait for us, even when we are the first process.
  [0x31, 0xff], // xor edi, edi
  [0x48, 0x89, 0xe6], // mov rsi, rsp
  [0x31, 0xd2], // xor edx, edx
  [0x41, 0xba, ...le32(8)], // mov r10d, 8
  [0xb8, ...le32(14)], // mov eax, 14
  [0x0f, 0x05], // syscall
  'wait',
  // rt_sigtimedwait(rsp, 0, 0, 8)
  [0x48, 0x89, 0xe7], // mov rdi, rsp
  [0x31, 0xf6], // xor esi, esi
  [0x31, 0xd2], // xor edx, edx
  [0x41, 0xba, ...le32(8)], // mov r10d, 8
  [0xb8, ...le32(128)], // mov eax, 128
  [0x0f, 0x05], // syscall
  [0x83, 0xf8, 17], // cmp eax, SIGCHLD
  { jump: 'reap', kind: 'je' },
  [0x83, 0xf8, 15], // cmp eax, SIGTERM
  { jump: 'exit', kind: 'je' },
  [0x83, 0xf8, 2], // cmp eax, SIGINT
  { jump: 'wait', kind: 'jne' },
  'exit',
  [0x31, 0xff], // xor edi, edi
  [0xb8, ...le32(231)], // mov eax, 231 (exit_group)
  [0x0f, 0x05], // syscall
  'reap',
  // wait4(-1, 0, WNOHANG, 0) until there is nobody left to reap.
  [0x48, 0xc7, 0xc7, 0xff, 0xff, 0xff, 0xff], // mov rdi, -1
  [0x31, 0xf6], // xor esi, esi
  [0xba, ...le32(1)], // mov edx, 1
  [0x45, 0x31, 0xd2], // xor r10d, r10d
  [0xb8, ...le32(61)], // mov eax, 61
  [0x0f, 0x05], // syscall
  [0x85, 0xc0], // test eax, eax
  { jump: 'reap', kind: 'jg' },
  { jump: 'wait', kind: 'jmp' },
];

/** `movz xN, #imm` and its relatives, as words of arm64. */
const movz = (register: number, value: number, shift = 0): number[] =>
  le32((0xd2800000 | ((shift / 16) << 21) | (value << 5) | register) >>> 0);
const movk = (register: number, value: number, shift: number): number[] =>
  le32((0xf2800000 | ((shift / 16) << 21) | (value << 5) | register) >>> 0);
/** `cmp wN, #imm` */
const cmp = (register: number, value: number): number[] => le32((0x7100001f | (value << 10) | (register << 5)) >>> 0);
const svc = le32(0xd4000001);

const arm64: Code = [
  le32(0xd10043ff), // sub sp, sp, #16
  movz(9, signals & 0xffff),
  movk(9, signals >>> 16, 16),
  le32(0xf90003e9), // str x9, [sp]
  movz(0, 0),
  le32(0x910003e1), // mov x1, sp
  movz(2, 0),
  movz(3, 8),
  movz(8, 135), // rt_sigprocmask
  svc,
  'wait',
  le32(0x910003e0), // mov x0, sp
  movz(1, 0),
  movz(2, 0),
  movz(3, 8),
  movz(8, 137), // rt_sigtimedwait
  svc,
  cmp(0, 17),
  { jump: 'reap', kind: 'je' },
  cmp(0, 15),
  { jump: 'exit', kind: 'je' },
  cmp(0, 2),
  { jump: 'wait', kind: 'jne' },
  'exit',
  movz(0, 0),
  movz(8, 94), // exit_group
  svc,
  'reap',
  le32(0x92800000), // mov x0, #-1
  movz(1, 0),
  movz(2, 1),
  movz(3, 0),
  movz(8, 260), // wait4
  svc,
  cmp(0, 0),
  { jump: 'reap', kind: 'jg' },
  { jump: 'wait', kind: 'jmp' },
];

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

/** The program for an architecture as Go names them; undefined for one that it was not written for. */
export function pauseProgram(architecture: string): Buffer | undefined {
  const arm = architecture === 'arm64';
  if (!arm && architecture !== 'amd64') return undefined;
  const text = assemble(arm ? arm64 : amd64, arm);
  const elf = Buffer.alloc(headers + text.length);
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
  return elf;
}
