/** `Cache-Control: no-cache, private` on every answer that says nothing else: all of them stand behind authentication. */
export const cacheControl = 'no-cache, private';
