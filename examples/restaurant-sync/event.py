"""Publishes one event of any kind: event.py KIND JSON [MESSAGE-ID [CLUSTER]]"""

import json
import sys

from logs import Logs

kind, body, message_id, cluster = (sys.argv[1:] + [None, None])[:4]
headers = {"cluster": cluster} if cluster else {}
print(Logs().publish(kind, json.loads(body), message_id, **headers), flush=True)
