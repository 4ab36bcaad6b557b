/**
 * The pause program: what holds a pod's namespaces. A static ELF of a few dozen instructions, assembled here, so that no registry
 * and no compiler is needed to start a pod. It waits for signals: ends on SIGTERM and SIGINT, and reaps what is orphaned.
 */
import type { Code } from '../../../base/machine-code.ts';
import { cmp, elfProgram, le32, movk, movz, svc } from '../../../base/machine-code.ts';

/** SIGINT, SIGTERM and SIGCHLD as the kernel's signal set. */
const signals = (1 << 1) | (1 << 14) | (1 << 16);

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

/** The program for an architecture as Go names them; undefined for one that it was not written for. */
export function pauseProgram(architecture: string): Buffer | undefined {
  return elfProgram(architecture, { amd64: () => amd64, arm64: () => arm64 });
}
