"""Two clusters of the same services stay in step; see README.md."""

import json
import os
import sqlite3
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pika
import psycopg
from logs import AMQP_URL, Logs
from stage import WORK, Host, Program, check, eventually, run, say

POSTGRES = os.environ["POSTGRES_URL"]
VHOST = unquote(urlsplit(AMQP_URL).path[1:]) or "/"


class Cluster(Host):
    """A host, the database of its service `restaurants`, and the file of its service `menu`."""

    def __init__(self, name):
        super().__init__(name, CLUSTER=name)

    def restaurants(self, query="SELECT id::text, name FROM restaurants ORDER BY id"):
        with psycopg.connect(f"{POSTGRES}_{self.name}") as database:
            return database.execute(query).fetchall()

    def menu(self):
        return sqlite3.connect(WORK / f"{self.name}-data/menu.sqlite").execute(
            "SELECT id, name FROM restaurants ORDER BY id"
        ).fetchall()

    def dead_letters(self, service):
        """Takes them; the name of each one's restaurant, and why it is there."""
        with pika.BlockingConnection(pika.URLParameters(AMQP_URL)) as connection:
            channel = connection.channel()
            while (letter := channel.basic_get(f"{self.name}.{service}.dlq", auto_ack=True))[0]:
                _, properties, body = letter
                yield json.loads(body)["name"], properties.headers["x-exception-message"]

    def unhandled(self):
        """How many events came that no handler takes."""
        return int(self.metric("wabbit_outcomes_total", 'class="unmatched"'))


def create_databases():
    schema = Path("schema/restaurants.sql").read_text()
    base = POSTGRES.rsplit("/", 1)[1]
    with psycopg.connect(POSTGRES, autocommit=True) as server:
        for cluster in ["west", "east"]:
            server.execute(f'CREATE DATABASE "{base}_{cluster}"')
            psycopg.connect(f"{POSTGRES}_{cluster}", autocommit=True).execute(schema)


def settle(*clusters):
    """Waits until all is handled: what one handles may publish to the other, and back."""
    for cluster in clusters * 2:
        cluster.wait_idle()


def in_step(what, west, east, count):
    """The same restaurants are in all four databases."""
    check(f"{what}: restaurants", len(west.restaurants()), count)
    same = west.restaurants() == east.restaurants() == west.menu() == east.menu()
    check("  the same ones at the other cluster, and in both menus", same, True)


create_databases()
west, east = Cluster("west").ready(), Cluster("east").ready()

say("\nTen restaurants sign up, in turns at each cluster")
run(sys.executable, "signup.py", 0, 10, "west", "east")
settle(west, east)
in_step("all are", west, east, 10)
hashed = "SELECT count(*) FROM restaurants WHERE password_hash LIKE '$argon2id$%'"
for cluster in [west, east]:
    check(f"passwords that {cluster.name} keeps, hashed", cluster.restaurants(hashed)[0][0], 5)

say("\nThe same ten events are sent again, with the message-ids that they had")
run(sys.executable, "signup.py", 0, 10, "west", "east")
settle(west, east)
in_step("nothing is stored twice", west, east, 10)

say("\nThe handler fails in the middle: the third of its statements breaks a rule of the database")
logs = Logs()
kitchen = {"name": "Half", "email": "half@example.com", "password": "secret"}
branches = [{"address": "1 Side Street", "seats": 30}, {"address": "2 Side Street", "seats": 0}]
logs.publish("RESTAURANT_SIGNUP", kitchen | {"branches": branches}, cluster="west")
settle(west, east)
in_step("what the first two did is undone", west, east, 10)
check("  branches", west.restaurants("SELECT count(*) FROM branches")[0][0], 5)
[(name, why)] = west.dead_letters("restaurants")
check("the dead letter", name, "Half")
check("  says why", "branches_seats_check" in why, True)
branches[1]["seats"] = 12
logs.publish("RESTAURANT_SIGNUP", kitchen | {"branches": branches}, cluster="west")
settle(west, east)
in_step("put right and sent again, it is stored", west, east, 11)

say("\nSomebody signs up with an email that is taken")
logs.publish("RESTAURANT_SIGNUP", kitchen, cluster="west")
settle(west, east)
in_step("that is answered and no failure", west, east, 11)

say("\nA kind of event that nobody handles")
before = {cluster: cluster.unhandled() for cluster in [west, east]}
run(sys.executable, "event.py", "RESTAURANT_RATED", '{"stars": 5}')
settle(west, east)
for cluster in [west, east]:
    check(f"counted by both services of {cluster.name}", cluster.unhandled() - before[cluster], 2)
    check("  dead letters", [*cluster.dead_letters("restaurants"), *cluster.dead_letters("menu")], [])

say("\nEvery connection is closed by force, five times, while fifty more sign up")
producer = Program("signup", [sys.executable, "-u", "signup.py", 10, 50, "west", "east"])
for turn in range(5):
    goal = 11 + 10 * turn
    eventually(f"{goal} restaurants", lambda: len(west.restaurants()) >= goal)
    run(os.environ["RABBITMQCTL"], "--quiet", "close_all_connections", "-p", VHOST, "by force")
check("the producer ends well", producer.process.wait(60), 0)
west.ready(), east.ready()
settle(west, east)
in_step("nothing is lost, and nothing is there twice", west, east, 61)
reconnects = west.metric("wabbit_reconnects_total"), east.metric("wabbit_reconnects_total")
check("both hosts have connected again", min(reconnects) > 0, True)

say("\nOne cluster is away while ten more sign up at the other")
east.stop()
run(sys.executable, "signup.py", 60, 10, "west")
west.wait_idle()
east = Cluster("east").ready()
settle(west, east)
in_step("it catches up", west, east, 71)
west.stop(), east.stop()
