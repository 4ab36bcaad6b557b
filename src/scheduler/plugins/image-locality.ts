/** ImageLocality: nodes that have the pod's images already are better, the more so the more nodes have them. */
import type { Plugin } from '../framework.ts';
import { maxNodeScore } from '../framework.ts';
import { normalizedImage } from '../pod-info.ts';

const minThreshold = 23 * 1024 * 1024;
const maxContainerThreshold = 1000 * 1024 * 1024;

export const imageLocality: Plugin = {
  name: 'ImageLocality',
  weight: 1,
  score({ info, table }) {
    if (!table.hasImages) return undefined;
    const spec = info.pod.spec!;
    const containers = spec.containers.length + (spec.initContainers?.length ?? 0);
    const images = [
      ...info.images,
      ...(spec.initContainers ?? []).map((c) => normalizedImage(c.image ?? '')),
      ...(spec.volumes ?? []).flatMap((v) =>
        v.image?.reference === undefined ? [] : [normalizedImage(v.image.reference)],
      ),
    ].filter((i) => table.imageNodes.has(i));
    if (images.length === 0) return undefined;
    const nodes = table.size;
    const most = maxContainerThreshold * containers;
    return {
      fill(scores, rows, n) {
        scores.fill(0, 0, n);
        for (const image of images) {
          const share = table.imageNodes.get(image)! / nodes;
          for (let i = 0; i < n; i++) {
            const size = table.imageSize(rows[i]!, image);
            if (size !== undefined) scores[i]! += Math.trunc(size * share);
          }
        }
        for (let i = 0; i < n; i++) {
          const bounded = Math.min(Math.max(scores[i]!, minThreshold), most);
          scores[i] = Math.trunc((maxNodeScore * (bounded - minThreshold)) / (most - minThreshold));
        }
      },
    };
  },
  events: [],
};
