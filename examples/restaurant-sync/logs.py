"""Publishes events to `logs`, the fanout exchange that everybody listens to.

An event has its kind in the content type and a message-id, and is sent again under the same one until
the broker has confirmed it: whoever gets it twice can tell.
"""

import json
import os
import time
import uuid

import pika
import pika.exceptions

AMQP_URL = os.environ.get("AMQP_URL", "amqp://guest:guest@localhost:5672/%2F")


class Logs:
    def __init__(self, url=AMQP_URL):
        self.parameters = pika.URLParameters(url + "?heartbeat=600&blocked_connection_timeout=300")
        self.channel = None

    def publish(self, kind, body, message_id=None, **headers):
        properties = pika.BasicProperties(
            content_type=kind,
            delivery_mode=pika.DeliveryMode.Persistent,
            message_id=message_id or str(uuid.uuid4()),
            headers=headers,
        )
        while True:
            try:
                self.connected().basic_publish("logs", "", json.dumps(body), properties, mandatory=True)
                return properties.message_id
            except pika.exceptions.UnroutableError:
                raise  # no queue is bound: nobody would ever know
            except pika.exceptions.AMQPError as error:
                # Perhaps the broker has it, perhaps not.
                print(f"sending {properties.message_id} again: {error!r}", flush=True)
                self.channel = None
                time.sleep(0.2)

    def connected(self):
        if not self.channel:
            channel = pika.BlockingConnection(self.parameters).channel()
            channel.exchange_declare("logs", "fanout", durable=True)
            channel.confirm_delivery()
            self.channel = channel
        return self.channel
