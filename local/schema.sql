-- The events, and two views of them. Applied to a database with another version than in database.py.

CREATE TABLE IF NOT EXISTS events (
    key         TEXT PRIMARY KEY NOT NULL,
    event_id    TEXT,
    event_type  TEXT,
    device_id   TEXT,
    project_id  TEXT,
    timestamp   TEXT,             -- UTC with six fraction digits, so that it sorts
    received_at TEXT NOT NULL,    -- likewise
    signed_by   TEXT,             -- NULL for what the first version stored; 'fetched' if nobody signed it
    parsed      INTEGER NOT NULL,
    body        BLOB NOT NULL     -- the bytes that DT signed, or that dtconn fetched
);

-- When each device last sent each type, for `latest`. A trigger maintains it, for every program that inserts. With an
-- index by device, each event would write a separate page: docs/decisions/0024-indexes.md.
CREATE TABLE IF NOT EXISTS newest (
    device_id  TEXT NOT NULL,
    event_type TEXT NOT NULL,
    timestamp  TEXT NOT NULL,
    PRIMARY KEY (device_id, event_type)
) WITHOUT ROWID;

CREATE TRIGGER IF NOT EXISTS events_newest AFTER INSERT ON events
WHEN new.parsed AND new.device_id IS NOT NULL
BEGIN
    INSERT INTO newest VALUES (new.device_id, new.event_type, new.timestamp)
    ON CONFLICT DO UPDATE SET timestamp = excluded.timestamp WHERE excluded.timestamp > timestamp;
END;

DROP VIEW IF EXISTS schema_version;
DROP VIEW IF EXISTS latest;
DROP VIEW IF EXISTS readings;

-- One row per sample and quantity, with its unit. The quantities are those of core/readings.py; a test compares them.
CREATE VIEW readings AS
WITH quantities (event_type, field, quantity, unit) AS (VALUES
    ('touch', NULL, 'touch', NULL),
    ('temperature', 'value', 'temperature', '°C'),
    ('humidity', 'temperature', 'temperature', '°C'),
    ('humidity', 'relativeHumidity', 'relativeHumidity', '%'),
    ('objectPresent', 'state', 'state', NULL),
    ('objectPresentCount', 'total', 'total', '1'),
    ('touchCount', 'total', 'total', '1'),
    ('waterPresent', 'state', 'state', NULL),
    ('co2', 'ppm', 'ppm', 'ppm'),
    ('pressure', 'pascal', 'pascal', 'Pa'),
    ('motion', 'state', 'state', NULL),
    ('deskOccupancy', 'state', 'state', NULL),
    ('contact', 'state', 'state', NULL),
    ('probeWireStatus', 'state', 'state', NULL),
    ('networkStatus', 'signalStrength', 'signalStrength', '%'),
    ('networkStatus', 'rssi', 'rssi', 'dBm'),
    ('networkStatus', 'transmissionMode', 'transmissionMode', NULL),
    ('batteryStatus', 'percentage', 'percentage', '%'),
    ('connectionStatus', 'connection', 'connection', NULL),
    ('ethernetStatus', 'macAddress', 'macAddress', NULL),
    ('ethernetStatus', 'ipAddress', 'ipAddress', NULL),
    ('cellularStatus', 'signalStrength', 'signalStrength', '%'),
    ('connectionLatency', 'avgLatencyMillis', 'avgLatencyMillis', 'ms'),
    ('connectionLatency', 'minLatencyMillis', 'minLatencyMillis', 'ms'),
    ('connectionLatency', 'maxLatencyMillis', 'maxLatencyMillis', 'ms')
),
documents AS (
    -- [[payload, name]], so that json_each yields one row, or none, and each body is read once. json_valid, although
    -- Python has parsed it: a body that only Python can parse must not make every query fail.
    SELECT events.*, each.value AS document
    FROM events CROSS JOIN json_each(CASE WHEN parsed AND json_valid(CAST(body AS TEXT)) THEN '[' || json_extract(
        -- SQLite ends a text at a NUL, and readers reject half of a surrogate pair: U+FFFD replaces both.
        CASE WHEN instr(body, CAST('\u' AS BLOB)) THEN (
            WITH RECURSIVE escapes (clean, rest) AS (
                SELECT '', CAST(body AS TEXT)
                UNION ALL
                SELECT
                    clean || CASE
                        WHEN rest GLOB '\u[dD][89abAB]??\u[dD][c-fC-F]*' THEN substr(rest, 1, 12)
                        WHEN rest GLOB '\u[dD][89a-fA-F]*' OR rest GLOB '\u0000*' THEN '\ufffd'
                        WHEN rest GLOB '\*' THEN substr(rest, 1, 2)
                        ELSE substr(rest, 1, instr(rest || '\', '\') - 1)
                    END,
                    substr(rest, CASE
                        WHEN rest GLOB '\u[dD][89abAB]??\u[dD][c-fC-F]*' THEN 13
                        WHEN rest GLOB '\u[dD][89a-fA-F]*' OR rest GLOB '\u0000*' THEN 7
                        WHEN rest GLOB '\*' THEN 3
                        ELSE instr(rest || '\', '\')
                    END)
                FROM escapes WHERE rest != ''
            )
            SELECT clean FROM escapes WHERE rest = ''
        ) ELSE CAST(body AS TEXT) END,
        '$.event.data.' || event_type, '$.labels.name'
    ) || ']' ELSE '[]' END) AS each
),
samples AS (
    -- DT sends the newest sample first, equal to the values beside it; events from before 2021 have only those values.
    SELECT documents.*, each.key AS sample, each.value AS fields
    FROM documents CROSS JOIN json_each(
        CASE WHEN json_type(document, '$[0].samples[0]') = 'object'
            THEN json_extract(document, '$[0].samples') ELSE json_array(json_extract(document, '$[0]')) END
    ) AS each
    WHERE each.type = 'object'
),
fields AS (
    SELECT
        samples.*, quantity, unit, field,
        json_type(fields, '$.' || field) AS type, json_extract(fields, '$.' || field) AS found,
        coalesce(json_extract(fields, '$.sampleTime'), json_extract(document, '$[0].updateTime')) AS time
    FROM samples CROSS JOIN quantities USING (event_type)
)
SELECT
    key, device_id, project_id, event_type, sample, quantity,
    CASE WHEN type IN ('integer', 'real') THEN CAST(found AS REAL) END AS value,
    CASE WHEN type = 'text' THEN found END AS text,
    unit,
    coalesce(
        CASE
            -- DT's own format; rarer formats take longer.
            WHEN time GLOB '[0-9][0-9][0-9][0-9]-[01][0-9]-[0-2][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9].[0-9][0-9][0-9][0-9][0-9][0-9]Z'
                AND substr(time, 1, 4) > '0000' AND substr(time, 6, 2) BETWEEN '01' AND '12'
                AND substr(time, 9, 2) BETWEEN '01' AND '28' AND substr(time, 12, 2) < '24'
                THEN time
            ELSE (
                -- RFC 3339 in parts, because SQLite would round the fraction to milliseconds, and take 30 February for
                -- a day in March. A leap second, which it does not know, is the start of the next.
                SELECT strftime('%Y-%m-%dT%H:%M:%S.', start || zone, iif(is_leap, '+1 second', '+0 seconds'))
                    || substr(ltrim(substr(written, 20, length(written) - 19 - length(zone)), '.') || '000000', 1, 6)
                    || 'Z' AS utc
                FROM (
                    SELECT
                        each.key AS place, upper(each.value) AS written, substr(each.value, 18, 2) = '60' AS is_leap,
                        substr(upper(each.value), CASE WHEN upper(each.value) LIKE '%Z' THEN -1 ELSE -6 END) AS zone,
                        upper(CASE WHEN substr(each.value, 18, 2) = '60' THEN substr(each.value, 1, 17) || '59'
                            ELSE substr(each.value, 1, 19) END) AS start
                    FROM json_each(
                        -- Only text: from 1e999 json_array would make JSON that json_each rejects.
                        json_array(
                            iif(json_type(fields, '$.sampleTime') = 'text', json_extract(fields, '$.sampleTime'), NULL),
                            iif(
                                json_type(document, '$[0].updateTime') = 'text',
                                json_extract(document, '$[0].updateTime'), NULL
                            )
                        )
                    ) AS each
                    WHERE each.type = 'text' AND upper(each.value) NOT GLOB '*[^-+.:0-9TZ ]*'
                )
                WHERE replace(start, ' ', 'T') = strftime('%Y-%m-%dT%H:%M:%S', start, '+0 days')
                    AND utc BETWEEN '0001' AND '9999-12-31T24'
                    AND substr(written, 20, length(written) - 19 - length(zone)) NOT GLOB '*[^.0-9]*'
                ORDER BY place LIMIT 1
            )
        END,
        timestamp
    ) AS time,
    received_at,
    json_type(document, '$[0].isBackfilled') IS 'true' AS is_backfilled,
    CASE WHEN json_type(document, '$[1]') = 'text' THEN json_extract(document, '$[1]') END AS name,
    signed_by,
    coalesce(timestamp, received_at) AS event_time
FROM fields
WHERE
    field IS NULL
    OR (unit IS NULL AND type = 'text')
    OR (unit IS NOT NULL AND type IN ('integer', 'real') AND abs(CAST(found AS REAL)) < 1e308);

-- The newest reading of each quantity of each device, by event time, so that a backfilled event never counts as new.
CREATE VIEW latest AS
SELECT readings.*
FROM newest
CROSS JOIN readings ON newest.device_id = readings.device_id AND key = (
    SELECT key FROM events
    WHERE coalesce(timestamp, received_at) = +newest.timestamp AND events.device_id = newest.device_id
        AND events.event_type = newest.event_type AND parsed
    LIMIT 1
)
WHERE sample = 0;

