/** What a client's SETTINGS say (RFC 9113, 6.5.2), of which little concerns a server. */
import { defaultFrameSize, errorCode, maxWindow, readUint32, setting } from './frames.ts';

export interface Settings {
  headerTableSize?: number;
  initialWindowSize?: number;
  /** The error code of a value that may not be. */
  fault?: number;
}

export function readSettings(bytes: Buffer, start: number, size: number): Settings {
  const settings: Settings = {};
  for (let at = start; at < start + size; at += 6) {
    const value = readUint32(bytes, at + 2);
    switch ((bytes[at]! << 8) | bytes[at + 1]!) {
      case setting.headerTableSize:
        settings.headerTableSize = value;
        break;
      case setting.enablePush:
        if (value > 1) settings.fault = errorCode.protocol;
        break;
      case setting.initialWindowSize:
        if (value > maxWindow) settings.fault = errorCode.flowControl;
        settings.initialWindowSize = value;
        break;
      case setting.maxFrameSize:
        // Larger frames than the least are never sent.
        if (value < defaultFrameSize || value > 16_777_215) settings.fault = errorCode.protocol;
        break;
      default:
    }
  }
  return settings;
}
