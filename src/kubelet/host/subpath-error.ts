/** The directory of a subPath is not there and cannot be made. */
export class SubPathDirectoryError extends Error {}
