"""A change over HTTP, the handlers that it reaches, and what becomes of it; see README.md."""

import json
import os
import socket
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pika
import pika.exceptions
import psycopg
from stage import WORK, Host, Program, check, eventually, fail, say

AMQP_URL, POSTGRES = os.environ["AMQP_URL"], os.environ["POSTGRES_URL"]
BASE = POSTGRES.rsplit("/", 1)[1]


def sql(database, statement):
    with psycopg.connect(f"{POSTGRES}{database}", autocommit=True) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


def create_databases():
    for name in ["_profiles", "_history"]:
        sql("", f'CREATE DATABASE "{BASE}{name}"')
        sql(name, Path(f"schema/{name[1:]}.sql").read_text())


def handlers_email(user):
    """What the handler's database has."""
    rows = sql("_profiles", f"SELECT email FROM profiles WHERE user_id = '{user}'")
    return rows[0][0] if rows else None


def close_database():
    sql("", f'ALTER DATABASE "{BASE}_profiles" ALLOW_CONNECTIONS false')
    sql("", f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{BASE}_profiles'")


def open_database():
    sql("", f'ALTER DATABASE "{BASE}_profiles" ALLOW_CONNECTIONS true')


class Web(Program):
    """The HTTP service."""

    def __init__(self):
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        env = {"PORT": str(self.port), "WEB_DATABASE": str(WORK / "web.sqlite")}
        super().__init__("web", [sys.executable, "-u", "web.py"], **env)
        eventually("the HTTP service", lambda: self.ask("GET", "/healthz")[0] == 200)

    def ask(self, method, path, body=None):
        url, data = f"http://127.0.0.1:{self.port}{path}", body and json.dumps(body).encode()
        headers = {"content-type": "application/json"}
        try:
            request = urllib.request.Request(url, data, headers, method=method)
            with urllib.request.urlopen(request) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)
        except urllib.error.URLError:
            return 0, None

    def change(self, user, email, via="topic"):
        """Asks for a change; its id."""
        status, answer = self.ask("PUT", f"/profiles/{user}?via={via}", {"email": email})
        if status != 202:
            fail(f"{user}: {status} {answer}")
        return answer["change"]

    def answer(self, change):
        """Waits until a change is `pending` no more; what it is then, and why."""

        def answered():
            row = self.ask("GET", f"/changes/{change}")[1]
            return row["state"] != "pending" and row

        row = eventually("an answer", answered)
        return f"{row['state']}: {row['reason']}" if row["reason"] else row["state"]

    def email(self, user):
        return (self.ask("GET", f"/profiles/{user}")[1] or {}).get("email")


class Broker:
    """Another producer."""

    def __init__(self):
        self.channel = pika.BlockingConnection(pika.URLParameters(AMQP_URL)).channel()
        self.channel.confirm_delivery()

    def takes(self, exchange, key, body="{}", headers=None):
        """Whether some queue takes this message."""
        properties = pika.BasicProperties(headers=headers)
        try:
            self.channel.basic_publish(exchange, key, body, properties, mandatory=True)
            return True
        except pika.exceptions.UnroutableError:
            return False

    def take(self, queue):
        """The body of the next message of a queue, and its header that says why it is there."""
        _, properties, body = self.channel.basic_get(queue, auto_ack=True)
        return body and (body.decode(), properties.headers["x-exception-message"])


create_databases()
host, web, broker = Host("host").ready(), Web(), Broker()

say("\nA profile is changed by way of each of the four exchanges")
for via in ["direct", "fanout", "topic", "headers"]:
    change, email = web.change("ada", f"{via}@example.com", via), f"{via}@example.com"
    check(f"{via}: the answer", web.answer(change), "accepted")
    check("  the email, here and there", {web.email("ada"), handlers_email("ada")}, {email})

say("\nWhat an exchange does not route, no queue takes")
check("direct, another key", broker.takes("user_updates.direct", "user.profile.delete"), False)
check("topic, a key of two words", broker.takes("user_updates", "user.profile"), False)
check("topic, a key of four words", broker.takes("user_updates", "user.profile.update.now"), False)
one_of_two = {"entity": "profile", "action": "delete"}
check("headers, one of two", broker.takes("user_updates.headers", "", headers=one_of_two), False)

say("\nThe business says no: that email belongs to someone else")
change = web.change("grace", "grace@example.com")
check("grace has a profile", web.answer(change), "accepted")
change = web.change("grace", "headers@example.com")
no = "rejected: headers@example.com belongs to someone else"
check("the answer", web.answer(change), no)
check("the first service has rolled back", web.email("grace"), "grace@example.com")
host.wait_idle()
check("that was no failure: dead letters", broker.take("profiles.dlq"), None)

say("\nThe database is down")
close_database()
change = web.change("ada", "ada@example.com")
unavailable = ("wabbit_outcomes_total", 'plugin="profiles"', 'outcome="unavailable"')
eventually("more attempts than there are", lambda: host.metric(*unavailable) > 3)
_, why = host.get("/readyz")
check("the host says what it waits for", "profiles" in why, True)
check("the change", web.ask("GET", f"/changes/{change}")[1]["state"], "pending")
check("it takes no other one meanwhile", web.ask("PUT", "/profiles/ada", {"email": "x"})[0], 409)
open_database()
check("the database is back: the answer", web.answer(change), "accepted")
check("the email there", handlers_email("ada"), "ada@example.com")
check("no attempt was used up: dead letters", broker.take("profiles.dlq"), None)

say("\nA bad body is a dead letter, of each service")
broker.takes("user_updates", "user.profile.update", "not JSON")
host.ready().wait_idle()
for service, says in [("profiles", "not a profile"), ("profile-history", "not an event of a profile")]:
    body, why = broker.take(f"{service}.dlq")
    check(f"{service}.dlq", body, "not JSON")
    check("  says why", says in why, True)

say("\nWhat the other handler wrote down")
for row in sql("_history", "SELECT user_id, kind, exchange, detail FROM history ORDER BY at"):
    say("  {:<6} {:<9} {:<21} {}".format(*(text or "" for text in row)))
kinds = sql("_history", "SELECT kind, count(*) FROM history GROUP BY kind")
check("in all", dict(kinds), {"accepted": 6, "rejected": 1, "update": 7})
