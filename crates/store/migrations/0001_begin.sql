-- Ids are UUID text, times are milliseconds since 1970 in UTC.

CREATE TABLE regions (
    id        TEXT PRIMARY KEY NOT NULL,
    parent_id TEXT REFERENCES regions (id),
    name      TEXT NOT NULL
) STRICT;
CREATE INDEX regions_by_parent ON regions (parent_id);

CREATE TABLE cases (
    id         TEXT PRIMARY KEY NOT NULL,
    number     TEXT NOT NULL UNIQUE,
    title      TEXT NOT NULL,
    region_id  TEXT REFERENCES regions (id),
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE rooms (
    id         TEXT PRIMARY KEY NOT NULL,
    case_id    TEXT NOT NULL REFERENCES cases (id),
    name       TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX rooms_by_case ON rooms (case_id);

-- The code itself is never stored, only its SHA-256.
CREATE TABLE invitations (
    id             TEXT PRIMARY KEY NOT NULL,
    room_id        TEXT NOT NULL REFERENCES rooms (id),
    role           TEXT NOT NULL,
    name           TEXT NOT NULL,
    code_sha256    BLOB NOT NULL UNIQUE,
    participant_id TEXT NOT NULL UNIQUE,
    created_at     INTEGER NOT NULL,
    expires_at     INTEGER NOT NULL,
    used_at        INTEGER
) STRICT;

-- `sealed_credentials` is AES-256-GCM: nonce, then ciphertext and tag.
CREATE TABLE cameras (
    id                 TEXT PRIMARY KEY NOT NULL,
    number             INTEGER NOT NULL UNIQUE,
    name               TEXT NOT NULL,
    region_id          TEXT REFERENCES regions (id),
    gb28181_id         TEXT UNIQUE,
    url                TEXT NOT NULL,
    sealed_credentials BLOB
) STRICT;

CREATE TABLE walls (
    id   TEXT PRIMARY KEY NOT NULL,
    name TEXT NOT NULL
) STRICT;

CREATE TABLE wall_cameras (
    wall_id   TEXT NOT NULL REFERENCES walls (id),
    place     INTEGER NOT NULL,
    camera_id TEXT NOT NULL REFERENCES cameras (id),
    PRIMARY KEY (wall_id, place),
    UNIQUE (wall_id, camera_id)
) STRICT;

CREATE TABLE purposes (
    id             TEXT PRIMARY KEY NOT NULL,
    kind           TEXT NOT NULL,
    reason         TEXT NOT NULL,
    opened_by      TEXT NOT NULL,
    participant_id TEXT NOT NULL,
    opened_at      INTEGER NOT NULL,
    expires_at     INTEGER NOT NULL
) STRICT;

CREATE TABLE recordings (
    id         TEXT PRIMARY KEY NOT NULL,
    session_id TEXT NOT NULL,
    room_id    TEXT NOT NULL REFERENCES rooms (id),
    case_id    TEXT NOT NULL REFERENCES cases (id),
    state      TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    ended_at   INTEGER,
    package    TEXT,
    head_hash  TEXT,
    detail     TEXT
) STRICT;
CREATE INDEX recordings_by_case ON recordings (case_id, started_at);
CREATE INDEX recordings_by_room ON recordings (room_id, started_at);

CREATE TABLE audit (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    at         INTEGER NOT NULL,
    actor      TEXT NOT NULL,
    role       TEXT NOT NULL,
    action     TEXT NOT NULL,
    target     TEXT NOT NULL,
    purpose_id TEXT,
    detail     TEXT NOT NULL
) STRICT;

-- The audit log grows and never changes. (Whoever can write the file can still rewrite it.)
CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit
BEGIN
    SELECT RAISE (ABORT, 'the audit log is append-only');
END;
CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit
BEGIN
    SELECT RAISE (ABORT, 'the audit log is append-only');
END;
