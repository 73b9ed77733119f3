"""Three hosts and an admin service keep a catalogue, from before there is a broker until after the hosts
have come and gone."""

import json
import os
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import unquote, urlparse

import pika
import pymysql
from stage import Host, Program, check, eventually, run, say

PRODUCTS = 120
QUEUE = "products"
AMQP = os.environ["AMQP_URL"]


def rabbitmqctl(*arguments):
    run(os.environ["RABBITMQCTL"], "--quiet", *arguments)


def query(statement):
    url = urlparse(os.environ["MYSQL_URL"])
    connection = pymysql.connect(
        host=url.hostname,
        port=url.port or 3306,
        user=url.username,
        password=unquote(url.password or ""),
        database=url.path.strip("/"),
        autocommit=True,
    )
    with connection, connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall()


class Admin(Program):
    def __init__(self, name):
        super().__init__(name, [sys.executable, "-u", "admin.py"], PORT="0")
        lines = eventually("the admin service", lambda: self.log.read_text().split("\n")[:-1])
        self.url = lines[0].split()[-1]

    def ask(self, method, path, **fields):
        asked = urllib.request.Request(f"{self.url}{path}", json.dumps(fields).encode(), method=method)
        # It answers once the broker has the event.
        with urllib.request.urlopen(asked, timeout=180) as answer:
            return json.load(answer)


def unready(host):
    """The reasons why a host is not ready; none if it is."""
    return json.loads(host.get("/readyz")[1]).get("reasons", [])


def events():
    """How many events have had their effect, each counted by the statement that is it."""
    return int(query("SELECT COALESCE(SUM(events), 0) FROM products")[0][0])


def declare(**arguments):
    with pika.BlockingConnection(pika.URLParameters(AMQP)) as connection:
        connection.channel().queue_declare(QUEUE, durable=True, **arguments)


def delete_queue():
    with pika.BlockingConnection(pika.URLParameters(AMQP)) as connection:
        connection.channel().queue_delete(QUEUE)


query(Path("schema.sql").read_text())

say("Handlers and the admin service start before the broker does.")
rabbitmqctl("stop_app")
hosts = [Host(f"host-{number}") for number in (1, 2, 3)]
admin = Admin("admin")
with ThreadPoolExecutor() as pool:
    first = pool.submit(admin.ask, "POST", "/products", title="kettle", price="24.90")
    eventually("the admin service tries", lambda: "trying again" in admin.log.read_text())
    reason = eventually("a reason", lambda: next(filter(lambda it: "refused" in it, unready(hosts[0])), None))
    say(f"    the host is not ready: {reason}")
    rabbitmqctl("start_app")
    product = first.result()
for host in hosts:
    host.ready()
eventually("the first event", lambda: events() == 1)
check("the first product is there", query("SELECT title, price FROM products")[0][0], "kettle")

say(f"{PRODUCTS} products are created and changed, every third is deleted; one host is killed meanwhile.")
published = 1
for number in range(2, PRODUCTS + 2):
    if number == PRODUCTS // 2:
        hosts.pop().kill()
    admin.ask("POST", "/products", title=f"cup {number}", price=f"{number}.50")
    admin.ask("PUT", f"/products/{number}", title=f"mug {number}", price=f"{number}.25")
    published += 2
    if number % 3 == 0:
        admin.ask("DELETE", f"/products/{number}")
        published += 1
eventually("all events", lambda: events() >= published)
for host in hosts:
    handled = host.metric("wabbit_outcomes_total", 'outcome="ok"')
    say(f"    {host.name} handled {handled:.0f}")
    check("it had its share", handled > 0, True)

say("All hosts but one go, in good order, and it says when everything is processed.")
hosts[1].stop()
hosts[0].wait_idle()
check("events, each with one effect", events(), published)
count = "SELECT COUNT(*) FROM products WHERE"
check("products that are deleted", query(f"{count} deleted")[0][0], PRODUCTS // 3)
right = f"{count} title = CONCAT('mug ', id) AND price = id + 0.25 AND NOT deleted"
check("products as they were last changed", query(right)[0][0], PRODUCTS - PRODUCTS // 3)
check("dead letters", int(hosts[0].metric("wabbit_dead_letters_total")), 0)

say("A product that the database does not take becomes a dead letter, with the database's words.")
admin.ask("POST", "/products", title="a title of more than forty characters, which do not fit", price="1.00")
hosts[0].wait_idle()
check("dead letters", int(hosts[0].metric("wabbit_dead_letters_total")), 1)

say("Somebody declares the queue with other arguments than the host and the admin service do: both explain.")
hosts[0].stop()
admin.stop()
delete_queue()
declare(arguments={"x-max-length": 1000})
admin = Admin("admin-refused")
try:
    admin.ask("POST", "/products", title="cup", price="1.00")
except OSError:
    pass
# It hangs up first, and then says why it ends.
eventually("the admin service ends", lambda: admin.process.poll() is not None)
say(f"    the admin service: {admin.log.read_text().splitlines()[-1]}")
check("it mentions the argument", "x-max-length" in admin.log.read_text(), True)
host = Host("host-4", config="other-arguments.toml")
reason = eventually("an explanation", lambda: next(filter(lambda it: "x-max-length" in it, unready(host)), None))
say(f"    the host: {reason}")
delete_queue()
host.ready()
check("once the queue is gone, the host makes it as its manifest says, and is ready", unready(host), [])
say("done")
