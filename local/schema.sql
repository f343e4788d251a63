-- The events, and two views over them. Applied when a database is older than the version that sqlite.py names.

CREATE TABLE IF NOT EXISTS events (
    key         TEXT PRIMARY KEY NOT NULL,
    event_id    TEXT,
    event_type  TEXT,
    device_id   TEXT,
    project_id  TEXT,
    timestamp   TEXT,             -- UTC with six fraction digits, so that it sorts
    received_at TEXT NOT NULL,    -- likewise
    parsed      INTEGER NOT NULL,
    body        BLOB NOT NULL     -- the bytes that DT signed
);

CREATE INDEX IF NOT EXISTS events_of_device ON events (device_id, event_type, timestamp);

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
    -- json_valid, although Python has parsed it: one body that only Python could read must not end every query.
    SELECT *, CASE WHEN parsed AND json_valid(CAST(body AS TEXT)) THEN CAST(body AS TEXT) END AS document FROM events
),
payloads AS (
    SELECT *, json_extract(document, '$.event.data.' || event_type) AS payload FROM documents
),
samples AS (
    -- DT sends the newest sample first, equal to the values beside it; events of before 2021 have those values alone.
    SELECT payloads.*, each.key AS sample, each.value AS fields
    FROM payloads, json_each(
        CASE WHEN json_type(payload, '$.samples[0]') = 'object'
            THEN json_extract(payload, '$.samples') ELSE json_array(json(payload)) END
    ) AS each
    WHERE each.type = 'object'
),
fields AS (
    SELECT
        samples.*, quantity, unit, field,
        json_type(fields, '$.' || field) AS type, json_extract(fields, '$.' || field) AS found,
        coalesce(json_extract(fields, '$.sampleTime'), json_extract(payload, '$.updateTime'), timestamp) AS time
    FROM samples JOIN quantities USING (event_type)
)
SELECT
    key, device_id, project_id, event_type, sample, quantity,
    CASE WHEN type IN ('integer', 'real') THEN found END AS value,
    CASE WHEN type = 'text' THEN found END AS text,
    unit,
    -- six fraction digits, whether DT sent none, six or nine
    substr(rtrim(time, 'Z') || CASE WHEN instr(time, '.') THEN '000000' ELSE '.000000' END, 1, 26) || 'Z' AS time,
    received_at,
    coalesce(json_extract(payload, '$.isBackfilled'), FALSE) AS is_backfilled,
    json_extract(document, '$.labels.name') AS name
FROM fields
WHERE
    field IS NULL
    OR (unit IS NULL AND type = 'text')
    OR (unit IS NOT NULL AND type IN ('integer', 'real') AND abs(found) < 1e308);

-- The newest reading of each quantity of each device: by event time, so that a backfilled event never shows as news.
CREATE VIEW latest AS
SELECT readings.*
FROM (
    SELECT key, max(timestamp) FROM events WHERE parsed AND device_id IS NOT NULL GROUP BY device_id, event_type
) AS newest
JOIN readings USING (key)
WHERE sample = 0;
