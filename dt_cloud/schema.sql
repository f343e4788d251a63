-- The cloud's state. Times are seconds since the epoch on the cloud's clock, which may be ahead of the machine's.

CREATE TABLE meta (
    name  TEXT PRIMARY KEY NOT NULL,
    value NOT NULL
);

CREATE TABLE devices (
    device_id      TEXT PRIMARY KEY NOT NULL,
    project_id     TEXT NOT NULL,
    type           TEXT NOT NULL,
    product_number TEXT NOT NULL,
    labels         TEXT NOT NULL,  -- JSON object
    reported       TEXT NOT NULL   -- JSON object: the newest data of each event type
);

-- The history, for 30 days.
CREATE TABLE events (
    id         INTEGER PRIMARY KEY,
    project_id TEXT NOT NULL,
    device_id  TEXT NOT NULL,
    event_type TEXT NOT NULL,
    timestamp  REAL NOT NULL,
    event      TEXT NOT NULL,      -- JSON, as in the stream
    delivery   INTEGER NOT NULL DEFAULT 0,  -- 1 once a connector has delivered it, 2 once it was found in the store
    delivered_at REAL
);
CREATE INDEX events_of_device ON events (device_id, timestamp DESC, id DESC);
CREATE INDEX events_by_time ON events (timestamp);
CREATE INDEX events_delivered ON events (delivered_at) WHERE delivery = 1;

CREATE TABLE connectors (
    connector_id  TEXT PRIMARY KEY NOT NULL,
    project_id    TEXT NOT NULL,
    display_name  TEXT NOT NULL,
    status        TEXT NOT NULL,
    events        TEXT NOT NULL,   -- JSON array
    labels        TEXT NOT NULL,   -- JSON array
    url           TEXT NOT NULL,
    secret        TEXT NOT NULL,
    headers       TEXT NOT NULL,   -- JSON object
    created       REAL NOT NULL,
    failing_since REAL,            -- the first failure after the last success
    failures      INTEGER NOT NULL -- attempts that failed since then
);

-- One event for one connector. Finished deliveries are kept for a while, for the page.
CREATE TABLE deliveries (
    id           INTEGER PRIMARY KEY,
    event        INTEGER NOT NULL, -- its id in events
    connector_id TEXT NOT NULL,
    project_id   TEXT NOT NULL,
    device_id    TEXT NOT NULL,
    event_id     TEXT NOT NULL,
    event_type   TEXT NOT NULL,
    body         BLOB NOT NULL,
    published    REAL NOT NULL,
    state        TEXT NOT NULL,    -- waiting, delivered, expired, dropped
    due          REAL NOT NULL,    -- of the next attempt
    attempts     INTEGER NOT NULL DEFAULT 0,
    signature    TEXT              -- JSON object of headers; where each attempt carries the first one's
);
CREATE INDEX waiting ON deliveries (published) WHERE state = 'waiting';
CREATE INDEX deliveries_of_device ON deliveries (device_id, id);

CREATE TABLE attempts (
    delivery_id INTEGER NOT NULL,
    number      INTEGER NOT NULL,
    started     REAL NOT NULL,
    sent        REAL NOT NULL,     -- real time
    seconds     REAL NOT NULL,     -- real time
    status      INTEGER,           -- NULL without an answer
    note        TEXT NOT NULL,     -- the reason without an answer, or the fault that was injected
    headers     TEXT NOT NULL,     -- JSON object, as sent
    answer      BLOB NOT NULL,     -- the first 2,000 bytes
    PRIMARY KEY (delivery_id, number)
) WITHOUT ROWID;

-- The ledger. It never shrinks, also when connectors and deliveries are deleted.
CREATE TABLE counts (
    connector_id TEXT NOT NULL,
    event_type   TEXT NOT NULL,
    outcome      TEXT NOT NULL,    -- published, delivered, expired, dropped, filtered
    number       INTEGER NOT NULL,
    PRIMARY KEY (connector_id, event_type, outcome)
) WITHOUT ROWID;

-- Attempts per minute, for the metrics.
CREATE TABLE minutes (
    connector_id TEXT NOT NULL,
    minute       INTEGER NOT NULL,
    successes    INTEGER NOT NULL,
    errors       INTEGER NOT NULL,
    latencies    TEXT NOT NULL,    -- JSON object: attempts by latency class, as in metrics.py
    PRIMARY KEY (connector_id, minute)
) WITHOUT ROWID;
