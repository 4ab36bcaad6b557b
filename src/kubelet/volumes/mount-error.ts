/** Why a pod's volume is not there. */

/** A volume could not be set up; the message is that of the FailedMount event. */
export class MountError extends Error {
  readonly volume: string;

  constructor(volume: string, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = 'MountError';
    this.volume = volume;
  }
}
