"""A thousand messages reach the board, each once: with one host, and with hosts that are scaled to zero
and back meanwhile."""

import json
import os
import socket
import urllib.request

from stage import Host, Program, check, eventually, fail, say


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


class Backend(Program):
    def __init__(self):
        self.url = f"http://127.0.0.1:{(port := free_port())}"
        super().__init__("backend", ["node", "backend.js"], PORT=str(port))
        eventually("the backend", lambda: "http" in self.log.read_text())

    def get(self, path):
        with urllib.request.urlopen(self.url + path, timeout=60) as answer:
            return json.load(answer)


def end_to_end(name):
    return Program(name, ["node", "end-to-end.js"], BACKEND=backend.url, ADMIN=admin)


def passes(test):
    code = test.process.wait(300)
    for line in test.log.read_text().splitlines():
        say(f"    {line}")
    if code != 0:
        fail(f"{test.name} ended with {code}")


backend = Backend()
admin = f"127.0.0.1:{free_port()}"

say("The end-to-end test, with one host.")
host = Host("host-1", admin=admin).ready()
passes(end_to_end("end-to-end"))
again = host.metric("wabbit_conflicts_total")
say(f"    {again:.0f} times an append met another and was done again")

say("Again, with three hosts, which are scaled to zero while messages come.")
hosts = [host, *(Host(f"host-{number}").ready() for number in (2, 3))]
test = end_to_end("end-to-end-scaled")
eventually("messages on the board", lambda: 100 < len(backend.get("/messages")) < 1000)
for host in hosts:
    host.stop()
before = len(backend.get("/messages"))
say(f"    no host; {before} messages are on the board")
waiting = 1000 - before
eventually("the rest in the queue", lambda: backend.get("/queue")["waiting"] == waiting)
check("all others wait in the queue", backend.get("/queue")["waiting"], waiting)
check("messages on the board", len(backend.get("/messages")), before)
say("Back to one host.")
Host("host-1", admin=admin)
passes(test)
say("done")
