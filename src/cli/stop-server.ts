/** Stopping the process that holds a data directory: `knarr up`, or `knarr join`. */
import { ioNow, ioSleep } from '../base/io-time.ts';
import { askServer } from '../cluster/control.ts';
import { UserError } from './errors.ts';

/** Asks the server to stop and waits until it has. False: none was running. */
export async function stopServer(dataDir: string): Promise<boolean> {
  const status = await askServer(dataDir, 'stop');
  if (status === undefined) return false;
  const until = ioNow() + 60_000;
  for (;;) {
    try {
      process.kill(status.pid, 0);
    } catch (e) {
      if ((e as NodeJS.ErrnoException).code === 'ESRCH') return true;
      throw e;
    }
    if (ioNow() > until) throw new UserError(`process ${status.pid} has not stopped within a minute`);
    await ioSleep(20);
  }
}
