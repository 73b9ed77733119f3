-- The shop's copy of the products. A deleted one stays, so that an older event that comes late does
-- not bring it back. `events` counts what was done here, each event once.
CREATE TABLE products (
    id INT NOT NULL PRIMARY KEY,
    version INT NOT NULL,
    title VARCHAR(40) NOT NULL DEFAULT '',
    price DECIMAL(10, 2) NOT NULL DEFAULT 0,
    deleted BOOLEAN NOT NULL DEFAULT FALSE,
    events INT NOT NULL
);
