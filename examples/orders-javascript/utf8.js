// Bytes to text and back. The engine (QuickJS) has no TextDecoder; its base64 is native and fast.

/** The text of UTF-8 `bytes`; throws when they are not UTF-8. */
export function decode(bytes) {
  const binary = atob(bytes.toBase64());
  return /[\x80-\xff]/.test(binary) ? decodeURIComponent(escape(binary)) : binary;
}

/** `text` as UTF-8 bytes. */
export function encode(text) {
  const binary = /[^\x00-\x7f]/.test(text) ? unescape(encodeURIComponent(text)) : text;
  return Uint8Array.fromBase64(btoa(binary));
}
