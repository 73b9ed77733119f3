"""Publishes one message whose names and short strings are not UTF-8, as a careless client may."""

import sys

import pika

url, queue = sys.argv[1:]
connection = pika.BlockingConnection(pika.URLParameters(url))
channel = connection.channel()
channel.confirm_delivery()
properties = pika.BasicProperties(content_type=b"te\xfft", headers={b"a\xffb": "value"})
channel.basic_publish("", queue, b"reject:odd names", properties, mandatory=True)
connection.close()
