/** `--runtime-config`: which group versions an API server serves, told one by one or by their stability. */
import type { Catalog } from '../../api/catalog/catalog.ts';
import { StartError } from './environment.ts';

const stability: Readonly<Record<string, RegExp>> = {
  'api/all': /^v\d+/,
  'api/ga': /^v\d+$/,
  'api/beta': /^v\d+beta\d+$/,
  'api/alpha': /^v\d+alpha\d+$/,
};

/** The switched versions, `group/version`. What is told of one version goes before what is told of many. */
export function runtimeConfig(given: Readonly<Record<string, string>>, catalog: Catalog): Map<string, boolean> {
  const out = new Map<string, boolean>();
  const value = (name: string, text: string): boolean => {
    if (text === 'true' || text === '') return true;
    if (text === 'false') return false;
    throw new StartError(`--runtime-config ${name}=${text}: it is true or false`);
  };
  for (const [name, pattern] of Object.entries(stability)) {
    const text = given[name];
    if (text === undefined) continue;
    const on = value(name, text);
    // The version of the core group cannot be left out with the rest.
    for (const v of catalog.groupVersions)
      if (pattern.test(v.version) && (on || v.group !== '')) out.set(`${v.group}/${v.version}`, on);
  }
  for (const [name, text] of Object.entries(given)) {
    if (stability[name] !== undefined) continue;
    const core = name === 'v1' || name === 'api/v1';
    const key = core ? '/v1' : name;
    if (!catalog.groupVersions.some((v) => `${v.group}/${v.version}` === key))
      throw new StartError(`--runtime-config: there is no API ${name}`);
    out.set(key, value(name, text));
  }
  return out;
}
