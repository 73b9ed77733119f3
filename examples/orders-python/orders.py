"""Adds up the lines of an order and publishes the total."""

import json
import math
from operator import index

import wit_world
from componentize_py_types import Err
from wit_world.imports.logging import Level, log
from wit_world.imports.publisher import (
    Property_ContentType,
    Property_CorrelationId,
    Property_Header,
    Property_Type,
    publish,
)
from wit_world.imports.wabbit_amqp_types import Field_Text, Header
from wit_world.imports.wabbit_handler_types import Event, Failure_Reject, Failure_Retry, Retry


class WitWorld(wit_world.WitWorld):
    def handle(self, event: Event) -> None:
        try:
            order = json.loads(event.body)
            total = add_up(order)
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            raise Err(Failure_Reject(f"not an order: {type(error).__name__}: {error}"))
        if not order["lines"]:
            raise Err(Failure_Reject("the order has no lines"))
        # A pending order gets one chance to be completed; after that it counts as it is.
        if order.get("status") == "pending" and event.attempt == 1:
            raise Err(Failure_Retry(Retry(None, "the order is pending: come back later")))

        log(Level.INFO, "orders", f"order {total['id']}: {total['total_cents']} cents")
        body = json.dumps(total, ensure_ascii=False, separators=(",", ":"))
        # Sent once this function has returned, and before the event is acknowledged.
        publish("shop", "order.totalled", body.encode(), [
            Property_ContentType("application/json"),
            Property_Type("order.totalled"),
            Property_CorrelationId(order["id"]),
            Property_Header(Header("handled-by", Field_Text("python"))),
        ])


def add_up(order: dict) -> dict:
    """Whole cents, so that no sum depends on the order of its lines."""
    if not (isinstance(order["id"], str) and isinstance(order["currency"], str)):
        raise TypeError("id and currency must be strings")
    lines = [(index(line["quantity"]), cents(line["price"])) for line in order["lines"]]
    return {
        "id": order["id"],
        "currency": order["currency"],
        "items": sum(quantity for quantity, _ in lines),
        "total_cents": sum(quantity * price for quantity, price in lines),
    }


def cents(price: float) -> int:
    return math.floor(price * 100 + 0.5)
