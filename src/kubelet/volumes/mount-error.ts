/** Why a pod's volume is not there. */

/** A volume that cannot be attached to this node, now or later: the pod has to go elsewhere. */
export class AttachLimitError extends Error {
  constructor(volume: string) {
    super(
      `Node has reached its volume attachment limit, rejecting pod. unmounted volumes=[${volume}], unattached volumes=[${volume}], failed to process volumes=[]: context deadline exceeded`,
    );
    this.name = 'AttachLimitError';
  }
}

/** A volume could not be set up; the message is that of the FailedMount event. */
export class MountError extends Error {
  readonly volume: string;
  /** Nothing is wrong so far: others have to do their part first. Not worth an event. */
  readonly waiting: boolean;

  constructor(volume: string, message: string, options?: { cause?: unknown; waiting?: boolean }) {
    super(message, options);
    this.name = 'MountError';
    this.volume = volume;
    this.waiting = options?.waiting ?? false;
  }
}
