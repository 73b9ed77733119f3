"""`RESTAURANT_CREATED`: the service `menu` keeps its own copy of each restaurant, to hang menus on."""

import json

import wit_world
from componentize_py_types import Err
from wit_world.imports.database import (
    Error_Statement,
    Error_Unavailable,
    Value_Text,
    execute,
)
from wit_world.imports.logging import Level, log
from wit_world.imports.wabbit_handler_types import Event, Failure_Reject, Failure_Retry, Retry

TABLE = "CREATE TABLE IF NOT EXISTS restaurants (id TEXT PRIMARY KEY, name TEXT NOT NULL)"
STORE = "INSERT INTO restaurants (id, name) VALUES (?, ?) ON CONFLICT (id) DO NOTHING"


class WitWorld(wit_world.WitWorld):
    def handle(self, event: Event) -> None:
        try:
            restaurant = json.loads(event.body)
            values = [Value_Text(restaurant["id"]), Value_Text(restaurant["name"])]
        except (LookupError, TypeError, ValueError) as error:
            raise Err(Failure_Reject(f"not a restaurant: {type(error).__name__}: {error}"))
        try:
            # The database is a file of this service alone: nobody else makes its table.
            execute("menu", TABLE, [])
            execute("menu", STORE, values)
        except Err as error:
            raise Err(failure(error.value))
        log(Level.INFO, "menu", f"{restaurant['name']} may have a menu")


def failure(error):
    match error:
        case Error_Unavailable(reason):
            # Comes again when the database is back: no attempt is used up.
            return Failure_Retry(Retry(None, reason))
        case Error_Statement(statement):
            return Failure_Reject(statement.message)
        case _:
            return Failure_Reject(str(error))
