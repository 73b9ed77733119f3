"""Publishes orders for four handlers, each confirmed; see host/tests/all/proof for what is expected."""

import json
import sys
from concurrent.futures import ThreadPoolExecutor

import pika

url, count = sys.argv[1], int(sys.argv[2])
languages = ["rust", "javascript", "python", "c"]


def body(n, turn):
    if turn % 200 == 7:
        return b'{"id": "order-%d", "lines": [' % n
    lines = [
        {"sku": f"sku-{n % 97}", "quantity": n % 5 + 1, "price": n * 37 % 10000 / 100},
        {"sku": "postage", "quantity": 1, "price": 0.99},
    ]
    order = {
        "id": f"order-{n}",
        "currency": "EUR",
        "status": "pending" if turn % 50 == 3 else "paid",
        "lines": [] if turn % 200 == 107 else lines,
    }
    return json.dumps(order).encode()


def publish(first):
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    channel.confirm_delivery()
    key = f"order.created.{languages[first]}"
    for turn, n in enumerate(range(first, count, len(languages))):
        properties = pika.BasicProperties(
            content_type="application/json",
            delivery_mode=pika.DeliveryMode.Persistent,
            message_id=f"m-{n}",
            correlation_id=f"order-{n}",
            headers={"number": n, "tenant": f"tenant-{n % 7}"},
        )
        channel.basic_publish("shop", key, body(n, turn), properties, mandatory=True)
    connection.close()
    return turn + 1


with ThreadPoolExecutor(len(languages)) as flavours:
    print(sum(flavours.map(publish, range(len(languages)))))
