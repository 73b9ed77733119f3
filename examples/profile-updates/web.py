"""Profiles over HTTP, and the first half of a saga.

PUT /profiles/ada changes a profile here at once and tells the others, by an event. If one of them
says no (`user.profile.rejected`), what was here before comes back. Until there is an answer, the
change is `pending`, and the profile takes no other one.
"""

import json
import os
import sqlite3
import threading
import time
import uuid

import pika
from flask import Flask, jsonify, request

AMQP_URL = os.environ.get("AMQP_URL", "amqp://guest:guest@localhost:5672/%2F")
DATABASE = os.environ.get("WEB_DATABASE", "web.sqlite")
EXCHANGES = {
    "topic": "user_updates",
    "direct": "user_updates.direct",
    "fanout": "user_updates.fanout",
    "headers": "user_updates.headers",
}

app = Flask(__name__)


def database():
    connection = sqlite3.connect(DATABASE, timeout=10, isolation_level=None)
    connection.row_factory = sqlite3.Row
    return connection


def create_tables():
    database().executescript(
        """
        CREATE TABLE IF NOT EXISTS profiles (id TEXT PRIMARY KEY, email TEXT, name TEXT);
        CREATE TABLE IF NOT EXISTS changes (
            id TEXT PRIMARY KEY, profile TEXT, before TEXT, event TEXT, via TEXT, state TEXT, reason TEXT);
        CREATE UNIQUE INDEX IF NOT EXISTS one_at_a_time ON changes (profile) WHERE state = 'pending';
        """
    )


# --- The others are told -----------------------------------------------------------------------


def publish(update, via):
    """Returns when the broker has it on disk, and a queue is bound that takes it."""
    connection = pika.BlockingConnection(pika.URLParameters(AMQP_URL))
    try:
        channel = connection.channel()
        channel.exchange_declare(EXCHANGES[via], via, durable=True)
        channel.confirm_delivery()
        channel.basic_publish(
            EXCHANGES[via],
            "user.profile.update",
            json.dumps(update),
            pika.BasicProperties(
                content_type="application/json",
                delivery_mode=pika.DeliveryMode.Persistent,
                message_id=update["change"],
                headers={"entity": "profile", "action": "update"},
            ),
            mandatory=True,
        )
    finally:
        connection.close()


@app.put("/profiles/<user>")
def change(user):
    wanted, via = request.get_json(), request.args.get("via", "topic")
    update = {
        "change": str(uuid.uuid4()),
        "user": user,
        "email": wanted["email"],
        "name": wanted.get("name", user),
    }
    rows = database()
    rows.execute("BEGIN IMMEDIATE")
    before = rows.execute("SELECT * FROM profiles WHERE id = ?", [user]).fetchone()
    try:
        rows.execute(
            "INSERT INTO changes VALUES (?, ?, ?, ?, ?, 'pending', NULL)",
            [update["change"], user, before and json.dumps(dict(before)), json.dumps(update), via],
        )
    except sqlite3.IntegrityError:
        rows.execute("ROLLBACK")
        return {"error": f"a change of `{user}` is pending"}, 409
    rows.execute("REPLACE INTO profiles VALUES (?, ?, ?)", [user, update["email"], update["name"]])
    # Committed before it is told: what is told has happened.
    rows.execute("COMMIT")
    try:
        publish(update, via)
    except pika.exceptions.UnroutableError:
        answered(update["change"], "failed", "nobody listens")
        return {"error": "nobody listens", "change": update["change"]}, 503
    except pika.exceptions.AMQPError as error:
        # Perhaps the broker has it, perhaps not: `listen` tells it again, under the same message-id.
        app.logger.warning("not confirmed: %r", error)
    return {"change": update["change"], "state": "pending"}, 202


@app.get("/profiles/<user>")
def show(user):
    row = database().execute("SELECT * FROM profiles WHERE id = ?", [user]).fetchone()
    return dict(row) if row else ({"error": f"no profile `{user}`"}, 404)


@app.get("/changes/<change>")
def state(change):
    row = database().execute("SELECT * FROM changes WHERE id = ?", [change]).fetchone()
    return dict(row) if row else ({"error": f"no change `{change}`"}, 404)


@app.get("/healthz")
def health():
    return jsonify(listening=listening.is_set()), 200 if listening.is_set() else 503


# --- The others answer -------------------------------------------------------------------------


def answered(change, state, reason=None):
    """Ends a pending change; one that was refused is undone. A second answer changes nothing."""
    rows = database()
    rows.execute("BEGIN IMMEDIATE")
    row = rows.execute("SELECT * FROM changes WHERE id = ? AND state = 'pending'", [change]).fetchone()
    if row:
        rows.execute("UPDATE changes SET state = ?, reason = ? WHERE id = ?", [state, reason, change])
    if row and state != "accepted":
        rows.execute("DELETE FROM profiles WHERE id = ?", [row["profile"]])
        if row["before"]:
            rows.execute("INSERT INTO profiles VALUES (:id, :email, :name)", json.loads(row["before"]))
    rows.execute("COMMIT")


listening = threading.Event()


def listen():
    """Consumes the answers, again and again if the connection is lost."""
    while True:
        try:
            connection = pika.BlockingConnection(pika.URLParameters(AMQP_URL))
            channel = connection.channel()
            channel.exchange_declare("user_updates", "topic", durable=True)
            channel.queue_declare("web.answers", durable=True)
            for kind in ["accepted", "rejected"]:
                channel.queue_bind("web.answers", "user_updates", f"user.profile.{kind}")
            for row in database().execute("SELECT * FROM changes WHERE state = 'pending'").fetchall():
                publish(json.loads(row["event"]), row["via"])
            listening.set()
            for method, _, body in channel.consume("web.answers"):
                answer, kind = json.loads(body), method.routing_key.rsplit(".")[-1]
                answered(answer["change"], kind, answer.get("reason"))
                channel.basic_ack(method.delivery_tag)
        except pika.exceptions.AMQPError as error:
            app.logger.warning("the broker is away: %r", error)
            time.sleep(0.5)
        finally:
            listening.clear()


def main():
    create_tables()
    threading.Thread(target=listen, daemon=True).start()
    app.run("127.0.0.1", int(os.environ.get("PORT", "5000")), threaded=True)


if __name__ == "__main__":
    main()
