// Appends messages to a list in Redis: how many there are, and each under its number.

import { open } from 'wasi:keyvalue/store@0.2.0-draft';
import { increment } from 'wasi:keyvalue/atomics@0.2.0-draft';

export function handle(event) {
  const board = open('board');
  // Becomes visible with the message, when this function has returned. If another event has counted
  // meanwhile, nothing is written, and this function is called again: no number is given twice.
  const number = increment(board, 'messages', 1);
  board.set(`messages/${number}`, event.body);
}
