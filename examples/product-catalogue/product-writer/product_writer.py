"""Keeps the shop's copy of the products: what is created, changed and deleted elsewhere."""

import json

import wit_world
from componentize_py_types import Err
from wit_world.imports.database import (
    Error_Statement,
    Error_TypeMismatch,
    Value_Decimal,
    Value_Integer,
    Value_Text,
    execute,
)
from wit_world.imports.wabbit_handler_types import Event, Failure_Reject, Failure_Retry, Retry

# Several hosts compete for the queue, so that an older event can come after a newer one: then it counts,
# and changes nothing else. The row of a deleted product stays, or the older one would bring it back.
WRITE = """
INSERT INTO products (id, version, title, price, events) VALUES (?, ?, ?, ?, 1)
ON DUPLICATE KEY UPDATE
    title = IF(VALUES(version) > version, VALUES(title), title),
    price = IF(VALUES(version) > version, VALUES(price), price),
    version = GREATEST(version, VALUES(version)),
    events = events + 1
"""
DELETE = """
INSERT INTO products (id, version, deleted, events) VALUES (?, ?, TRUE, 1)
ON DUPLICATE KEY UPDATE
    deleted = TRUE,
    version = GREATEST(version, VALUES(version)),
    events = events + 1
"""


class WitWorld(wit_world.WitWorld):
    def handle(self, event: Event) -> None:
        try:
            statement, values = change(event.properties.content_type, json.loads(event.body))
        except (LookupError, TypeError, ValueError) as error:
            raise Err(Failure_Reject(f"not a product: {type(error).__name__}: {error}"))
        try:
            # Becomes visible when this function has returned.
            execute("catalogue", statement, values)
        except Err as error:
            raise Err(failure(error.value))


def change(kind, product):
    """The statement for an event, and its values."""
    key = [Value_Integer(product["id"]), Value_Integer(product["version"])]
    match kind:
        case "product_created" | "product_changed":
            return WRITE, key + [Value_Text(product["title"]), Value_Decimal(product["price"])]
        case "product_deleted":
            return DELETE, key
        case _:
            raise ValueError(f"the content-type is {kind}")


def failure(error):
    match error:
        # The database will never take it: a title that is too long, a price that is none.
        case Error_Statement(value=refused):
            return Failure_Reject(refused.message)
        case Error_TypeMismatch(value=why):
            return Failure_Reject(why)
        # If the database is away the event comes again whatever is said here.
        case _:
            return Failure_Retry(Retry(None, str(error)))
