// Adds up the lines of an order and publishes the total.

import { publish } from 'wabbit:publish/publisher@0.1.0';
import { log } from 'wasi:logging/logging@0.1.0-draft';
import { decode, encode } from './utf8.js';

export function handle(event) {
  const order = parse(event.body);
  if (order.lines.length === 0) reject('the order has no lines');
  // A pending order gets one chance to be completed; after that it counts as it is.
  if (order.status === 'pending' && event.attempt === 1) {
    retry('the order is pending: come back later');
  }

  const total = addUp(order);
  log('info', 'orders', `order ${total.id}: ${total.total_cents} cents`);
  // Sent once this function has returned, and before the event is acknowledged.
  publish('shop', 'order.totalled', encode(JSON.stringify(total)), [
    { tag: 'content-type', val: 'application/json' },
    { tag: 'type', val: 'order.totalled' },
    { tag: 'correlation-id', val: order.id },
    { tag: 'header', val: { name: 'handled-by', value: { tag: 'text', val: 'javascript' } } },
  ]);
}

function parse(body) {
  let order;
  try {
    order = JSON.parse(decode(body));
  } catch (error) {
    reject(`not an order: ${error.message}`);
  }
  const isLine = (line) => Number.isInteger(line?.quantity) && line.quantity >= 0 && Number.isFinite(line.price);
  const isOrder = typeof order?.id === 'string' && typeof order.currency === 'string'
    && Array.isArray(order.lines) && order.lines.every(isLine);
  if (!isOrder) reject('not an order: it needs an id, a currency, and lines of quantity and price');
  return order;
}

/** Whole cents, so that no sum depends on the order of its lines. */
function addUp({ id, currency, lines }) {
  const sum = (of) => lines.reduce((total, line) => total + of(line), 0);
  return {
    id,
    currency,
    items: sum((line) => line.quantity),
    total_cents: sum((line) => line.quantity * Math.round(line.price * 100)),
  };
}

// A handler fails by throwing one of the cases of `failure`.
function reject(reason) {
  throw { tag: 'reject', val: reason };
}

function retry(reason) {
  throw { tag: 'retry', val: { afterMs: undefined, reason } };
}
