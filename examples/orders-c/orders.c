// Adds up the lines of an order and publishes the total.
#include "build/publishing_handler.h"
#include "json.h"
#include <math.h>

typedef publishing_handler_string_t string;
typedef wabbit_publish_publisher_property_t property;

typedef struct {
    text id, currency;
    bool pending;
    long long lines, items, cents;
} order;

static string borrowed(const char *literal) {
    return (string){(uint8_t *)literal, strlen(literal)};
}

static bool reject(publishing_handler_failure_t *failure, const char *reason) {
    failure->tag = WABBIT_HANDLER_TYPES_FAILURE_REJECT;
    publishing_handler_string_dup(&failure->val.reject, reason);
    return false;
}

static bool retry(publishing_handler_failure_t *failure, const char *reason) {
    failure->tag = WABBIT_HANDLER_TYPES_FAILURE_RETRY;
    failure->val.retry.after_ms.is_some = false;
    publishing_handler_string_dup(&failure->val.retry.reason, reason);
    return false;
}

// Adds up in whole cents, so that no sum depends on the order of its lines.
static bool read_order(publishing_handler_list_u8_t body, order *order) {
    json object, value, lines, line;
    if (!json_parse_object(body.ptr, body.len, &object)) return false;
    if (!json_get(object, "id", &value) || !json_string(value, &order->id)) return false;
    if (!json_get(object, "currency", &value) || !json_string(value, &order->currency)) return false;
    text status = {0};
    if (json_get(object, "status", &value) && !json_string(value, &status)) return false;
    order->pending = status.len == 7 && !memcmp(status.ptr, "pending", 7);
    free(status.ptr);

    if (!json_get(object, "lines", &lines) || *lines.at != '[') return false;
    for (; json_next(&lines, &line); order->lines++) {
        double quantity, price;
        if (!json_get(line, "quantity", &value) || !json_number(value, &quantity)) return false;
        if (!json_get(line, "price", &value) || !json_number(value, &price)) return false;
        if (quantity < 0 || quantity != floor(quantity) || !isfinite(price)) return false;
        order->items += (long long)quantity;
        order->cents += (long long)quantity * llround(price * 100);
    }
    return true;
}

static bool publish_total(const order *order, publishing_handler_failure_t *failure) {
    char *start = malloc(6 * (order->id.len + order->currency.len) + 120), *end = start;
    end = json_put_string(json_put(end, "{\"id\":"), order->id);
    end = json_put_string(json_put(end, ",\"currency\":"), order->currency);
    end = json_put_integer(json_put(end, ",\"items\":"), order->items);
    end = json_put_integer(json_put(end, ",\"total_cents\":"), order->cents);
    end = json_put(end, "}");

    property properties[] = {
        {WABBIT_PUBLISH_PUBLISHER_PROPERTY_CONTENT_TYPE, {.content_type = borrowed("application/json")}},
        {WABBIT_PUBLISH_PUBLISHER_PROPERTY_TYPE, {.type = borrowed("order.totalled")}},
        {WABBIT_PUBLISH_PUBLISHER_PROPERTY_CORRELATION_ID,
         {.correlation_id = {(uint8_t *)order->id.ptr, order->id.len}}},
        {WABBIT_PUBLISH_PUBLISHER_PROPERTY_HEADER,
         {.header = {borrowed("handled-by"), {WABBIT_AMQP_TYPES_FIELD_TEXT, {.text = borrowed("c")}}}}},
    };
    string exchange = borrowed("shop"), routing_key = borrowed("order.totalled");
    publishing_handler_list_u8_t body = {(uint8_t *)start, (size_t)(end - start)};
    wabbit_publish_publisher_list_property_t list = {properties, sizeof properties / sizeof *properties};
    wabbit_publish_publisher_publish_error_t error;
    // Sent once the handler has returned true, and before the event is acknowledged.
    bool taken = wabbit_publish_publisher_publish(&exchange, &routing_key, &body, &list, &error);
    free(start);
    if (taken) return true;
    wabbit_publish_publisher_publish_error_free(&error);
    return reject(failure, "the total could not be published");
}

static void log_total(const order *order) {
    char *start = malloc(order->id.len + 64), *end = json_put(start, "order ");
    memcpy(end, order->id.ptr, order->id.len);
    end = json_put_integer(json_put(end + order->id.len, ": "), order->cents);
    end = json_put(end, " cents");
    string context = borrowed("orders"), line = {(uint8_t *)start, (size_t)(end - start)};
    wasi_logging_logging_log(WASI_LOGGING_LOGGING_LEVEL_INFO, &context, &line);
    free(start);
}

static bool handle(const publishing_handler_event_t *event, order *order, publishing_handler_failure_t *failure) {
    if (!read_order(event->body, order))
        return reject(failure, "not an order: it needs an id, a currency, and lines of quantity and price");
    if (order->lines == 0) return reject(failure, "the order has no lines");
    // A pending order gets one chance to be completed; after that it counts as it is.
    if (order->pending && event->attempt == 1) return retry(failure, "the order is pending: come back later");
    log_total(order);
    return publish_total(order, failure);
}

bool exports_publishing_handler_handle(publishing_handler_event_t *event, publishing_handler_failure_t *failure) {
    order order = {0};
    bool handled = handle(event, &order, failure);
    free(order.id.ptr);
    free(order.currency.ptr);
    publishing_handler_event_free(event);
    return handled;
}
