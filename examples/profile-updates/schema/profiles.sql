CREATE TABLE profiles (
    user_id text PRIMARY KEY,
    email   text NOT NULL UNIQUE,
    name    text NOT NULL
);
