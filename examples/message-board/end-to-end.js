// The end-to-end test: clears the board, appends 1,000 messages, waits until everything is really
// processed, reads them back and counts them. BACKEND and ADMIN say where the backend and the host are.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { setTimeout } from 'node:timers/promises';
import { promisify } from 'node:util';

const COUNT = 1000;
const AT_ONCE = 20;
/** What `wabbit` ends with while there is no host. */
const NO_HOST = 69;
const { BACKEND, ADMIN } = process.env;

async function ask(method, body) {
  const response = await fetch(`${BACKEND}/messages`, { method, body });
  assert(response.ok, `${method}: ${response.status} ${await response.clone().text()}`);
  return response;
}

await ask('DELETE');

const messages = Array.from({ length: COUNT }, (_, index) => `message ${index + 1}`);
const left = messages.values();
async function append() {
  for (const message of left) await ask('POST', message);
}
await Promise.all(Array.from({ length: AT_ONCE }, append));
console.log(`appended ${COUNT}`);

// A look at the queue would not do: what a handler is at is in no queue.
const waitIdle = () => promisify(execFile)('wabbit', ['wait-idle', '--admin', ADMIN]);
for (;;) {
  try {
    console.log((await waitIdle()).stdout.trim());
    break;
  } catch (error) {
    assert.equal(error.code, NO_HOST, error.message);
    await setTimeout(1000);
  }
}

const found = await (await ask('GET')).json();
assert.equal(found.length, COUNT);
assert.deepEqual(found.sort(), messages.sort());
console.log(`read back ${found.length}, each of them once`);
