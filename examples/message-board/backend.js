// The backend: POST /messages appends one by way of the queue, GET /messages reads what is there, and
// DELETE /messages clears it. GET /queue says how many messages wait.

import { randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import { text } from 'node:stream/consumers';
import amqp from 'amqplib';
import { createClient } from 'redis';

const QUEUE = 'messages';

const redis = await createClient({ url: process.env.REDIS_URL }).connect();
const connection = await amqp.connect(process.env.AMQP_URL);
const channel = await connection.createConfirmChannel();
// As the handler's host declares it: who comes first makes it.
await channel.assertQueue(QUEUE, { durable: true });

const routes = {
  'POST /messages': async (body) => {
    // Told that it is taken only once the broker has it.
    await new Promise((resolve, reject) => {
      const settings = { persistent: true, messageId: randomUUID() };
      channel.sendToQueue(QUEUE, Buffer.from(body), settings, (error) => (error ? reject(error) : resolve()));
    });
    return 202;
  },

  'GET /messages': async () => {
    const keys = await listed();
    return keys.length === 0 ? [] : redis.mGet(keys);
  },

  'DELETE /messages': async () => {
    await redis.del(['messages', ...(await listed())]);
    return 204;
  },

  'GET /queue': async () => ({ waiting: (await channel.checkQueue(QUEUE)).messageCount }),
};

/** The keys of all messages, in order: the handler has counted them. */
async function listed() {
  const count = Number((await redis.get('messages')) ?? 0);
  return Array.from({ length: count }, (_, index) => `messages/${index + 1}`);
}

const server = createServer(async (request, response) => {
  const route = routes[`${request.method} ${request.url}`] ?? (() => 404);
  try {
    const answer = await route(await text(request));
    if (typeof answer === 'number') response.writeHead(answer).end();
    else response.end(JSON.stringify(answer));
  } catch (error) {
    response.writeHead(503).end(`${error}`);
  }
});
server.listen(Number(process.env.PORT ?? 8000), '127.0.0.1', () => {
  console.log(`the backend: http://127.0.0.1:${server.address().port}`);
});
