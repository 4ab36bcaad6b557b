/** Upstream's notations of the kubelet's flags, as values of a KubeletConfiguration. */
import { formatDuration } from '../../api/time.ts';
import type { Taint } from '../../api/types/index.gen.ts';
import { parseBool } from '../../base/parse-bool.ts';
import { StartError } from './environment.ts';

/** `key=value:effect`, comma-separated, as `--register-with-taints` has it. */
function parseTaints(list: readonly string[]): Taint[] {
  return list.map((text) => {
    const m = /^([^=:]+)(?:=([^:]*))?:(NoSchedule|PreferNoSchedule|NoExecute)$/.exec(text);
    if (m === null) throw new StartError(`--register-with-taints: ${text} is not of the form key=value:effect`);
    return { key: m[1]!, ...(m[2] === undefined || m[2] === '' ? {} : { value: m[2] }), effect: m[3]! };
  });
}

/** `memory.available<1Gi,nodefs.available<10%`, as the eviction flags have it. */
function parseThresholds(flag: string, text: string): Record<string, string> {
  const out: Record<string, string> = {};
  for (const pair of text.split(',').filter((p) => p !== '')) {
    const at = pair.indexOf('<');
    if (at < 1) throw new StartError(`--${flag}: malformed pair, expect string<string: ${pair}`);
    out[pair.slice(0, at).trim()] = pair.slice(at + 1).trim();
  }
  return out;
}

/** `0:memory=1Gi,hugepages-1Gi=2Gi,1:memory=2Gi`, as `--reserved-memory` has it. */
function parseReservedMemory(text: string): { numaNode: number; limits: Record<string, string> }[] {
  const out: { numaNode: number; limits: Record<string, string> }[] = [];
  for (const part of text.split(/[,;]/).filter((p) => p !== '')) {
    const m = /^(?:(\d+):)?([^=:]+)=(.+)$/.exec(part);
    if (m === null || (m[1] === undefined && out.length === 0))
      throw new StartError(`--reserved-memory: the reserved memory has incorrect format ${part}`);
    if (m[1] !== undefined) out.push({ numaNode: Number(m[1]), limits: {} });
    out.at(-1)!.limits[m[2]!] = m[3]!;
  }
  return out;
}

/** `a:hello,b:again`, as `--manifest-url-header` has it. */
function parseHeaders(text: string): Record<string, string[]> {
  const out: Record<string, string[]> = {};
  for (const pair of text.split(',').filter((p) => p !== '')) {
    const at = pair.indexOf(':');
    if (at < 1) throw new StartError(`--manifest-url-header: malformed pair, expect string:string: ${pair}`);
    (out[pair.slice(0, at).trim()] ??= []).push(pair.slice(at + 1).trim());
  }
  return out;
}

/** `Name=true,Other=false`. */
function parseBools(flag: string, map: Readonly<Record<string, string>>): Record<string, boolean> {
  const out: Record<string, boolean> = {};
  for (const [name, text] of Object.entries(map)) {
    const on = parseBool(text);
    if (on === undefined)
      throw new StartError(
        `--${flag}: invalid value of ${name}: ${text}, err: strconv.ParseBool: parsing ${JSON.stringify(text)}: invalid syntax`,
      );
    out[name] = on;
  }
  return out;
}

/** What the flags of `knarr kubelet` are read with. */
export const flagNotations = {
  formatDuration,
  parseBools,
  parseHeaders,
  parseReservedMemory,
  parseTaints,
  parseThresholds,
};
