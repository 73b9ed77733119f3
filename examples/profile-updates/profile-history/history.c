// Writes down what happens to profiles: each change, and what was answered to it.
#include "build/history.h"
#include "json.h"

typedef history_string_t string;
typedef wabbit_sql_database_value_t value;
typedef wabbit_sql_database_error_t sql_error;

static string lent(const char *literal) {
    return (string){(uint8_t *)literal, strlen(literal)};
}

static bool reject(history_failure_t *failure, const char *reason) {
    failure->tag = WABBIT_HANDLER_TYPES_FAILURE_REJECT;
    history_string_dup(&failure->val.reject, reason);
    return false;
}

// What the database says becomes the reason: of a dead letter, or of another attempt.
static bool failed(history_failure_t *failure, sql_error *error) {
    if (error->tag == WABBIT_SQL_DATABASE_ERROR_UNAVAILABLE) {
        // Comes again when the database is back, as often as that takes: no attempt is used up.
        failure->tag = WABBIT_HANDLER_TYPES_FAILURE_RETRY;
        failure->val.retry.after_ms.is_some = false;
        failure->val.retry.reason = error->val.unavailable;
        return false;
    }
    bool statement = error->tag == WABBIT_SQL_DATABASE_ERROR_STATEMENT;
    string reason = statement ? error->val.statement.message : lent("the statement was not carried out");
    failure->tag = WABBIT_HANDLER_TYPES_FAILURE_REJECT;
    failure->val.reject.ptr = malloc(reason.len);
    failure->val.reject.len = reason.len;
    memcpy(failure->val.reject.ptr, reason.ptr, reason.len);
    wabbit_sql_database_error_free(error);
    return false;
}

static value text_value(text text) {
    if (!text.ptr) return (value){.tag = WABBIT_SQL_DATABASE_VALUE_NULL};
    return (value){WABBIT_SQL_DATABASE_VALUE_TEXT, {.text = {(uint8_t *)text.ptr, text.len}}};
}

// `user.profile.rejected` -> `rejected`
static text last_word(string key) {
    size_t from = key.len;
    while (from > 0 && key.ptr[from - 1] != '.') from--;
    return (text){(char *)key.ptr + from, key.len - from};
}

typedef struct { text change, user, detail; } entry;

static bool read_entry(history_list_u8_t body, entry *entry) {
    json object, field;
    if (!json_parse_object(body.ptr, body.len, &object)) return false;
    if (!json_get(object, "change", &field) || !json_string(field, &entry->change)) return false;
    if (!json_get(object, "user", &field) || !json_string(field, &entry->user)) return false;
    bool detail = json_get(object, "email", &field) || json_get(object, "reason", &field);
    return !detail || json_string(field, &entry->detail);
}

static bool write_down(history_event_t *event, const entry *entry, history_failure_t *failure) {
    text exchange = {(char *)event->exchange.ptr, event->exchange.len};
    value values[] = {
        text_value(entry->change), text_value(entry->user), text_value(last_word(event->routing_key)),
        text_value(exchange), text_value(entry->detail),
    };
    string database = lent("history"), statement = lent(
        "INSERT INTO history (change_id, user_id, kind, exchange, detail) VALUES ($1, $2, $3, $4, $5)");
    wabbit_sql_database_list_value_t list = {values, sizeof values / sizeof *values};
    uint64_t rows;
    sql_error error;
    // Committed when this handler has returned true, and before the event is acknowledged.
    if (wabbit_sql_database_execute(&database, &statement, &list, &rows, &error)) return true;
    return failed(failure, &error);
}

bool exports_history_handle(history_event_t *event, history_failure_t *failure) {
    entry entry = {0};
    bool handled = read_entry(event->body, &entry)
                       ? write_down(event, &entry, failure)
                       : reject(failure, "not an event of a profile: it needs a change and a user");
    free(entry.change.ptr);
    free(entry.user.ptr);
    free(entry.detail.ptr);
    history_event_free(event);
    return handled;
}
