-- Sessions that have not ended: what a server that is started again needs to go on with them.
-- One that has ended leaves nothing here.
CREATE TABLE live_sessions (
    id       TEXT PRIMARY KEY NOT NULL,
    room_id  TEXT NOT NULL UNIQUE REFERENCES rooms (id),
    began_at INTEGER NOT NULL
) STRICT;

-- People at browsers. The order of the rows is the order of the seats.
CREATE TABLE live_seats (
    session_id     TEXT NOT NULL REFERENCES live_sessions (id) ON DELETE CASCADE,
    participant_id TEXT NOT NULL,
    name           TEXT NOT NULL,
    role           TEXT NOT NULL,
    admitted       INTEGER NOT NULL,
    record         INTEGER NOT NULL,
    audio_muted    INTEGER NOT NULL,
    video_muted    INTEGER NOT NULL,
    listed         INTEGER NOT NULL,
    PRIMARY KEY (session_id, participant_id)
) STRICT;

-- Whom the mediator sent out of the session.
CREATE TABLE live_removed (
    session_id     TEXT NOT NULL REFERENCES live_sessions (id) ON DELETE CASCADE,
    participant_id TEXT NOT NULL,
    PRIMARY KEY (session_id, participant_id)
) STRICT;

CREATE INDEX recordings_by_session ON recordings (session_id, started_at);
