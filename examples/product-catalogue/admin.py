"""The admin service: keeps the products, and tells the work queue of each change, over HTTP:
POST /products, PUT /products/ID and DELETE /products/ID. What it keeps is in memory, to be short."""

import json
import os
import sys
import time
import uuid
from http.server import BaseHTTPRequestHandler, HTTPServer

import pika

QUEUE = "products"


class Broker:
    """Publishes to the work queue, and goes on trying while the broker is away."""

    def __init__(self, url):
        self.parameters = pika.URLParameters(url)
        self.connection = None

    def publish(self, kind, product):
        # The same id each time that it is sent, so that a handler can tell.
        properties = pika.BasicProperties(
            content_type=kind, message_id=str(uuid.uuid4()), delivery_mode=pika.DeliveryMode.Persistent
        )
        body = json.dumps(product)
        while True:
            try:
                if self.connection is None:
                    self.connect()
                # Returns when the broker has it on disk, in a queue.
                self.channel.basic_publish("", QUEUE, body, properties, mandatory=True)
                return
            except pika.exceptions.ChannelClosedByBroker as error:
                # Another declaration of the queue, e.g.: trying again does not help.
                sys.exit(f"the broker refuses: {error.reply_text}")
            except pika.exceptions.AMQPError as error:
                print(f"no broker, trying again: {error!r}", flush=True)
                self.connection = None
                time.sleep(0.5)

    def connect(self):
        self.connection = pika.BlockingConnection(self.parameters)
        self.channel = self.connection.channel()
        self.channel.confirm_delivery()
        # As the handlers' host declares it: who comes first makes it.
        self.channel.queue_declare(QUEUE, durable=True)

    def keep_alive(self):
        """Answers heartbeats."""
        try:
            if self.connection is not None:
                self.connection.process_data_events(0)
        except pika.exceptions.AMQPError:
            self.connection = None


class Admin(BaseHTTPRequestHandler):
    broker = Broker(os.environ["AMQP_URL"])
    products = {}

    def do_POST(self):
        product = {"id": len(self.products) + 1, "version": 1, **self.fields()}
        self.products[product["id"]] = product
        self.told("product_created", product)

    def do_PUT(self):
        product = self.products[self.id()]
        product.update(self.fields())
        product["version"] += 1
        self.told("product_changed", product)

    def do_DELETE(self):
        product = self.products[self.id()]
        product["version"] += 1
        self.told("product_deleted", {"id": product["id"], "version": product["version"]})

    def told(self, kind, product):
        self.broker.publish(kind, product)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(product).encode())

    def fields(self):
        fields = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        return {"title": fields["title"], "price": fields["price"]}

    def id(self):
        return int(self.path.rsplit("/", 1)[1])

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    server = HTTPServer(("127.0.0.1", int(os.environ.get("PORT", "8000"))), Admin)
    server.timeout = 1
    print(f"the admin service: http://127.0.0.1:{server.server_port}", flush=True)
    while True:
        server.handle_request()
        Admin.broker.keep_alive()
