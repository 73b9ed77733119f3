"""Publishes one message with every property and a header of every type, to each queue named."""

import datetime
import decimal
import sys

import pika

url, *queues = sys.argv[1:]
connection = pika.BlockingConnection(pika.URLParameters(url))
channel = connection.channel()
channel.confirm_delivery()
when = datetime.datetime(2024, 2, 29, 12, 30, tzinfo=datetime.timezone.utc)
headers = {
    "text": "größe ✓",
    "empty": "",
    "bytes": b"\x00\xff",
    "true": True,
    "false": False,
    "int": -7,
    "long": 2**40,
    "decimal": decimal.Decimal("3.14"),
    "time": when,
    "none": None,
    "list": [1, "two", None, [3, {"deep": [b"x", {}]}], []],
    "table": {"a": {"b": {"c": [True, {"d": "e"}]}}, "n": 2**33, "t": when},
}
properties = pika.BasicProperties(
    content_type="text/plain",
    content_encoding="identity",
    headers=headers,
    delivery_mode=2,
    priority=4,
    correlation_id="correlation",
    reply_to="answers",
    expiration="3600000",
    message_id="m-1",
    timestamp=1700000000,
    type="greeting",
    app_id="pika",
)
for queue in queues:
    channel.basic_publish("", queue, b"echo::out", properties, mandatory=True)
connection.close()
