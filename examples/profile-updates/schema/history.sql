CREATE TABLE history (
    change_id text NOT NULL,
    user_id   text NOT NULL,
    kind      text NOT NULL,
    exchange  text NOT NULL,
    detail    text,
    at        timestamptz NOT NULL DEFAULT now()
);
