-- The staff. `username_folded` is the user name in small letters; `password` is an argon2id hash in PHC form, and
-- absent until one was chosen. `participant_id` is the account's seat and its hand in the audit log.
CREATE TABLE accounts (
    id              TEXT PRIMARY KEY NOT NULL,
    username        TEXT NOT NULL,
    username_folded TEXT NOT NULL UNIQUE,
    name            TEXT NOT NULL,
    role            TEXT NOT NULL,
    participant_id  TEXT NOT NULL UNIQUE,
    password        TEXT,
    disabled        INTEGER NOT NULL,
    created_at      INTEGER NOT NULL,
    last_sign_in_at INTEGER
) STRICT;

-- One-time codes by which a password is chosen, one an account at most; without an account: for the first
-- administrator. The code itself is never stored, only its SHA-256.
CREATE TABLE setup_codes (
    code_sha256 BLOB PRIMARY KEY NOT NULL,
    account_id  TEXT UNIQUE REFERENCES accounts (id),
    expires_at  INTEGER NOT NULL
) STRICT;

-- Who is signed in where. The secret of the cookie is never stored, only its SHA-256.
CREATE TABLE sign_ins (
    id            TEXT PRIMARY KEY NOT NULL,
    account_id    TEXT NOT NULL REFERENCES accounts (id),
    secret_sha256 BLOB NOT NULL UNIQUE,
    address       TEXT NOT NULL,
    browser       TEXT NOT NULL,
    created_at    INTEGER NOT NULL,
    last_used_at  INTEGER NOT NULL
) STRICT;
CREATE INDEX sign_ins_by_account ON sign_ins (account_id);

-- Tokens without an account, made on the command line or for the demo, so that they can be seen and ended. The token
-- itself is not here.
CREATE TABLE links (
    id             TEXT PRIMARY KEY NOT NULL,
    name           TEXT NOT NULL,
    role           TEXT NOT NULL,
    room_id        TEXT REFERENCES rooms (id),
    participant_id TEXT NOT NULL,
    created_at     INTEGER NOT NULL,
    expires_at     INTEGER NOT NULL
) STRICT;

-- What was ended before its time, until the last of its tokens has run out by itself.
CREATE TABLE revocations (
    origin TEXT PRIMARY KEY NOT NULL,
    until  INTEGER NOT NULL
) STRICT;

ALTER TABLE invitations ADD COLUMN revoked_at INTEGER;
