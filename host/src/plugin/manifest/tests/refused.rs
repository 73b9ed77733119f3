//! What is said about manifests that cannot be used.

use super::read;

/// The whole message; `#` stands for the file.
fn assert_refused(table: &[(&str, &str)]) {
    for (text, message) in table {
        let expected = message.replace("#:", "plugins/orders.toml:");
        assert_eq!(read(text).unwrap_err(), expected, "in\n{text}");
    }
}

#[test]
fn unknown_keys_are_named_with_the_nearest_known_one() {
    assert_refused(&[
        ("descripton = ''", "#:1:1: unknown key `descripton`\nhint: did you mean `description`?"),
        (
            "\n[[subscription]]\n  prefech = 1",
            "#:3:3: unknown key `prefech` in `[[subscription]]`\nhint: did you mean `prefetch`?",
        ),
        (
            "[[subscription]]\nmatch = { content_type = 'a' }",
            "#:2:11: unknown key `content_type` in `[[subscription]] match`\n\
             hint: did you mean `content-type`?",
        ),
        (
            "[[subscription]]\nbindings = [{ exchange = 'a', routing-key = 'b' }]",
            "#:2:31: unknown key `routing-key` in `[[subscription]] bindings`\n\
             hint: known here: `exchange`, `type`, `durable`, `auto-delete`, `match`, `headers`, \
             `arguments`, `key`",
        ),
        (
            "[retry]\nattempt = 3\ndelay = ['1s']",
            "#:2:1: unknown key `attempt` in `[retry]`\nhint: did you mean `attempts`?\n\
             #:3:1: unknown key `delay` in `[retry]`\nhint: did you mean `delays`?",
        ),
        ("[limit]\ncpu = '1s'", "#:1:2: unknown key `limit`\nhint: did you mean `limits`?"),
    ]);
}

#[test]
fn bad_toml_and_wrong_types_are_located() {
    assert_refused(&[
        ("\u{feff}description = 3", "#:1:16: `description` must be a string, is an integer"),
        ("retry = {}\r\n  limits = 2", "#:2:12: `limits` must be a table, is an integer"),
        (
            "[retry]\nattempts = \n",
            "#:2:12: not valid TOML: string values must be quoted, expected literal string",
        ),
        ("a = 1\na = 2", "#:2:1: not valid TOML: duplicate key"),
        ("[retry]\nattempts = '3'", "#:2:12: `[retry] attempts` must be an integer, is `3`"),
        ("description = 3", "#:1:15: `description` must be a string, is an integer"),
        ("retry = 3", "#:1:9: `retry` must be a table, is an integer"),
        (
            "[subscription]\nqueue = 'a'",
            "#:1:1: `subscription` must be an array of tables, is a table\n\
             hint: write `[[subscription]]`",
        ),
        ("subscription = [1]", "#:1:17: `subscription` must hold tables, one is an integer"),
        ("subscription = []", "#:1:16: `subscription` must not be empty"),
        (
            "[grants]\npublish = 'shop:#'",
            "#:2:11: `[grants] publish` must be an array, is a string\nhint: write `[\"…\"]`",
        ),
        (
            "[[subscription]]\ndurable = 'yes'",
            "#:2:11: `[[subscription]] durable` must be `true` or `false`, is `yes`",
        ),
        (
            "[grants]\nvariables = { rate = 1 }",
            "#:2:22: `[grants] variables.rate` must be a string, is an integer",
        ),
        (
            "[[subscription]]\narguments = { day = 1979-05-27 }",
            "#:2:21: a field of AMQP can't be a date\nhint: write a string, or seconds since 1970",
        ),
        (
            "[retry]\nattempts = 99999999999999999999",
            "#:2:12: the number does not fit into 64 bits",
        ),
    ]);
}

#[test]
fn values_out_of_range_come_with_their_rule() {
    assert_refused(&[
        (
            "[[subscription]]\nprefetch = 0",
            "#:2:12: `[[subscription]] prefetch` must be 1 to 65535, is `0`",
        ),
        ("[retry]\nattempts = 0", "#:2:12: `[retry] attempts` must be 1 to 1000000, is `0`"),
        ("[retry]\njitter = 1.5", "#:2:10: `[retry] jitter` must be 0 to 1, is `1.5`"),
        (
            "[retry]\ndelays = []",
            "#:2:10: `[retry] delays` must not be empty\nhint: `attempts = 1` means no retry",
        ),
        (
            "[[subscription]]\norder-by = 'json:a'",
            "#:2:12: `[[subscription]] order-by` must be `none`, `queue`, `routing-key`, \
             `header:NAME` or `json:/POINTER`, is `json:a`",
        ),
        (
            "[circuit]\npause = '9s'\npause-max = '5s'",
            "#:2:9: `[circuit] pause` must not be over the `pause-max` of 5s",
        ),
        (
            "[retry]\ndelays = ['1s', '2d']",
            "#:2:10: `[retry] delays` must be 1ms to 1day, is `2days`",
        ),
        (
            "[limits]\ntimeout = 30",
            "#:2:11: `[limits] timeout` must be a duration such as `\"30s\"`, is `30`\n\
             hint: say of what: `\"30s\"`",
        ),
        (
            "[limits]\ntimeout = 'soon'",
            "#:2:11: `[limits] timeout` must be a duration such as `\"30s\"`, is `soon`",
        ),
        ("[limits]\ncpu = '0s'", "#:2:7: `[limits] cpu` must be 1ms to 1day, is `0s`"),
        ("[limits]\nmemory = '1KiB'", "#:2:10: `[limits] memory` must be 64KiB or more, is `1KiB`"),
        (
            "[limits]\nmemory = '1GiB'",
            "#:2:10: `[limits] memory` must not be over the host's limit of 512MiB, is `1GiB`\n\
             hint: raise `memory` in `[limits]` of the host's configuration",
        ),
        (
            "[limits]\nmemory = 'much'",
            "#:2:10: `[limits] memory` must be a size such as `\"64MiB\"`, is `much`",
        ),
        (
            "[limits]\ninstance = 'reused'",
            "#:2:12: `[limits] instance` must be `reuse` or `fresh`, is `reused`\n\
             hint: did you mean `reuse`?",
        ),
        (
            "[[subscription]]\ntopology = 'none'",
            "#:2:12: `[[subscription]] topology` must be `ensure`, `verify` or `off`, is `none`",
        ),
        ("[build]\nwatch = []", "#:1:1: `[build] command` is missing"),
    ]);
}

#[test]
fn grants_that_make_no_sense_are_refused() {
    assert_refused(&[
        (
            "[grants]\npublish = ['shop']",
            "#:2:11: `[grants] publish` has a bad entry: must be `EXCHANGE:KEY`, is `shop`\n\
             hint: `shop:#` for any key, `:shop` for the queue of this name",
        ),
        (
            "[grants]\nallowed-outbound-hosts = ['api.example.com']",
            "#:2:26: `[grants] allowed-outbound-hosts` has a bad entry: must begin with `https://` \
             or `http://`, is `api.example.com`\nhint: write `https://api.example.com`",
        ),
        (
            "[grants]\nvariables = { k = { secrt = 'K' } }",
            "#:2:19: `[grants] variables.k` must name its `secret`\n\
             hint: write `{ secret = \"NAME\" }`\n\
             #:2:21: unknown key `secrt` in `[grants] variables.k`\n\
             hint: write `{ secret = \"NAME\" }`",
        ),
        (
            "[grants]\nvariables.k = { secret = 'K', hosts = ['https://a', 'b'] }",
            "#:2:1: `[grants] variables.k` is for `https://a`, where no request may go\n\
             hint: add \"https://a\" to `allowed-outbound-hosts`\n\
             #:2:53: the hosts of `[grants] variables.k` have a bad entry: must begin with \
             `https://` or `http://`, is `b`\nhint: write `https://b`",
        ),
    ]);
}

#[test]
fn what_contradicts_itself_is_refused() {
    assert_refused(&[
        (
            "[[subscription]]\n[[subscription]]\nqueue = 'orders'",
            "#:3:9: two subscriptions of one plugin consume the queue `orders`\n\
             hint: leave `match` out to take all its events, or make it two plugins",
        ),
        (
            "[dead-letter]\nqueue = 'orders'",
            "#:2:9: `[dead-letter] queue` must not be a queue that the plugin consumes, is `orders`",
        ),
        (
            "[dead-letter]\nqueue = 'a'\nexchange = 'b'\nrouting-key = 'c'",
            "#:2:9: `[dead-letter] queue` and `exchange` with `routing-key` exclude each other",
        ),
        ("[dead-letter]\nexchange = 'b'", "#:1:1: `[dead-letter] routing-key` is missing"),
        ("[dead-letter]\nrouting-key = 'b'", "#:1:1: `[dead-letter] exchange` is missing"),
        (
            "[[subscription]]\nexclusive = true\ndurable = true",
            "#:3:11: `[[subscription]] durable` must not be `true` for an exclusive queue, \
             which goes with its connection",
        ),
        (
            "[[subscription]]\nqueue = ''\nexclusive = false",
            "#:3:13: `[[subscription]] exclusive` must be `true` for a queue that the server names",
        ),
        (
            "[[subscription]]\nqueue = ''\ntopology = 'off'",
            "#:3:12: `[[subscription]] topology` must be `ensure` for a queue that the server names",
        ),
        (
            "[[subscription]]\ntype = 'quorum'\ndurable = false",
            "#:2:8: `[[subscription]] type` must not be `quorum` for one that is not durable",
        ),
        (
            "[[subscription]]\ntype = 'quorum'\nqueue = ''",
            "#:2:8: `[[subscription]] type` must not be `quorum` for an exclusive one",
        ),
        (
            "[[subscription]]\ntype = 'quorum'\nauto-delete = true",
            "#:2:8: `[[subscription]] type` must not be `quorum` for one that deletes itself",
        ),
        (
            "[[subscription]]\nqueue = 'amq.mine'",
            "#:2:9: `[[subscription]] queue` must not begin with `amq.`, which is the broker's own",
        ),
        (
            "[[subscription]]\narguments = { x-queue-type = 'quorum' }",
            "#:2:13: `[[subscription]] arguments` must not hold `x-queue-type`, which is the key `type`",
        ),
        (
            "[[subscription]]\nprefetch = 2\nconcurrency = 3",
            "#:3:15: `[[subscription]] concurrency` must not be over the prefetch of 2, is `3`\n\
             hint: an event that is handled is one of those prefetched",
        ),
        (
            "[[subscription]]\nbindings = [{ exchange = '' }, { key = 'a' }]",
            "#:2:26: `[[subscription]] bindings.exchange` must not be the default exchange\n\
             hint: leave the binding out: every queue is bound to the default exchange by its name\n\
             #:2:32: `[[subscription]] bindings.exchange` is missing",
        ),
        (
            "[[subscription]]\nbindings = [{ exchange = 'a', type = 'topic' }, { exchange = 'a', type = 'fanout' }]",
            "#:2:62: exchange `a` is described twice, differently",
        ),
        (
            "[[subscription]]\nbindings = [{ exchange = 'a', type = 'topic', match = 'all' }]",
            "#:2:55: `[[subscription]] bindings.match` is for exchanges of the type `headers`",
        ),
    ]);
}

#[test]
fn stores_and_dedupe_are_named_as_they_must_be() {
    let hint = "hint: where it is, `[stores.NAME] url` of the host says";
    assert_refused(&[
        (
            "[grants]\nsql = ['../a']",
            &format!(
                "#:2:7: `[grants] sql` must hold names of letters, digits, `-` and `_`, one is \
                 `../a`\n{hint}"
            ),
        ),
        ("[grants]\nkey-value = ['a', 'a']", "#:2:13: `[grants] key-value` names `a` twice"),
        (
            "[dedupe]\nkey = 'body'",
            "#:2:7: `[dedupe] key` must be `message-id`, `header:NAME` or `json:/POINTER`, is `body`",
        ),
        ("[dedupe]\nwindow = '1ms'", "#:2:10: `[dedupe] window` must be 1s to 30days, is `1ms`"),
    ]);
}

#[test]
fn deep_nesting_is_refused_and_not_followed() {
    let deeper = ".a".repeat(100_000);
    for text in
        ["a = ".to_owned() + &"[".repeat(100_000), format!("a{deeper} = 1"), format!("[a{deeper}]")]
    {
        let message = read(&text).unwrap_err();
        assert!(message.contains("not valid TOML"), "{message}");
    }
}
