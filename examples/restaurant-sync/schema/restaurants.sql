CREATE TABLE restaurants (
    id            uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    name          text NOT NULL,
    email         text NOT NULL UNIQUE,
    password_hash text              -- only where it signed up
);

CREATE TABLE branches (
    restaurant uuid NOT NULL REFERENCES restaurants (id),
    address    text NOT NULL,
    seats      bigint NOT NULL CHECK (seats > 0)
);
