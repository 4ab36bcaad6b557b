/** An SCTP packet made by hand, for kernels without SCTP sockets: an INIT chunk with a checksum that connection tracking accepts. */
import { spawn } from 'node:child_process';
import type { Place } from './lab.ts';

const table = Array.from({ length: 256 }, (_, n) => {
  let c = n;
  for (let k = 0; k < 8; k++) c = c & 1 ? (c >>> 1) ^ 0x82f63b78 : c >>> 1;
  return c >>> 0;
});

export function crc32c(data: Uint8Array): number {
  let c = 0xffffffff;
  for (const byte of data) c = (table[(c ^ byte) & 255]! ^ (c >>> 8)) >>> 0;
  return (c ^ 0xffffffff) >>> 0;
}

export function sctpInit(sourcePort: number, destinationPort: number): Buffer {
  const packet = Buffer.alloc(32);
  packet.writeUInt16BE(sourcePort, 0);
  packet.writeUInt16BE(destinationPort, 2);
  // Chunk INIT of 20 bytes: tag, window, streams out and in, first number.
  packet.writeUInt8(1, 12);
  packet.writeUInt16BE(20, 14);
  packet.writeUInt32BE(0x12345678, 16);
  packet.writeUInt32BE(65_536, 20);
  packet.writeUInt16BE(1, 24);
  packet.writeUInt16BE(1, 26);
  packet.writeUInt32BE(1, 28);
  packet.writeUInt32LE(crc32c(packet), 8);
  return packet;
}

const send =
  'socket(S, PF_INET, SOCK_RAW, 132) or die $!; send(S, pack("H*", $ARGV[1]), 0, sockaddr_in(0, inet_aton($ARGV[0]))) or die $!';
const receive =
  '$| = 1; alarm 5; socket(S, PF_INET, SOCK_RAW, 132) or die $!; print "ready\\n"; recv(S, $b, 4096, 0); print unpack("H*", $b)';

export async function sendSctp(from: Place, address: string, packet: Buffer): Promise<void> {
  await from.run('perl', '-MSocket', '-e', send, address, packet.toString('hex'));
}

/** The first SCTP packet that arrives in `at` after `act` has begun. */
export function receiveSctp(at: Place, act: () => Promise<void>): Promise<{ from: string; packet: Buffer }> {
  return new Promise((resolve, reject) => {
    const child = spawn('nsenter', [`--net=${at.path}`, '--', 'perl', '-MSocket', '-e', receive]);
    let text = '';
    child.stdout.setEncoding('utf8').on('data', (more: string) => {
      if (text === '') act().catch(reject);
      text += more;
    });
    child.on('error', reject);
    child.on('close', () => {
      const bytes = Buffer.from(text.split('\n')[1] ?? '', 'hex');
      if (bytes.length === 0) reject(new Error('no SCTP packet arrived'));
      else resolve({ from: bytes.subarray(12, 16).join('.'), packet: bytes.subarray((bytes[0]! & 15) * 4) });
    });
  });
}
