-- The events, and two views over them. Applied by the release phase (Procfile); may be applied again at any time.

CREATE TABLE IF NOT EXISTS events (
    key          text PRIMARY KEY,
    event_id     text,
    event_type   text,
    device_id    text,
    project_id   text,
    timestamp    timestamptz,
    received_at  timestamptz NOT NULL,
    parsed       boolean NOT NULL,
    body         bytea NOT NULL,         -- the bytes that DT signed, of which text and jsonb refuse some
    attempts     smallint NOT NULL DEFAULT 0,
    processed_at timestamptz             -- both for worker.py
);

CREATE INDEX IF NOT EXISTS events_of_device ON events (device_id, event_type, timestamp DESC);

-- A body as jsonb, or NULL where it is none. jsonb refuses \u0000 and lone surrogates, which JSON allows, say in a
-- label: U+FFFD stands in for them here, so that the rest of the event can be queried. The body keeps them.
CREATE OR REPLACE FUNCTION event_document(body bytea) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE STRICT AS $$
BEGIN
    RETURN convert_from(body, 'UTF8')::jsonb;
EXCEPTION WHEN others THEN
    BEGIN
        RETURN regexp_replace(
            convert_from(body, 'UTF8'),
            '\\u0000|\\ud[89ab][0-9a-f]{2}(?!\\ud[c-f])|(?<!\\ud[89ab][0-9a-f]{2})\\ud[c-f][0-9a-f]{2}',
            '\\ufffd', 'gi'
        )::jsonb;
    EXCEPTION WHEN others THEN
        RETURN NULL;
    END;
END $$;

-- A time as DT writes it, or NULL where it is none: one bad row must not end every query.
CREATE OR REPLACE FUNCTION event_time(text) RETURNS timestamptz LANGUAGE plpgsql STABLE STRICT AS $$
BEGIN
    RETURN $1::timestamptz;
EXCEPTION WHEN others THEN
    RETURN NULL;
END $$;

-- One row per sample and quantity, with its unit. The quantities are those of core/readings.py; a test compares them.
CREATE OR REPLACE VIEW readings AS
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
)
SELECT
    key, device_id, project_id, event_type, (number - 1)::int AS sample, quantity,
    -- A number below the smallest double is 0, as Python reads it.
    CASE WHEN type = 'number' THEN
        CASE WHEN abs((fields ->> field)::numeric) < 1e-307 THEN 0 ELSE (fields ->> field)::double precision END
    END AS value,
    CASE WHEN type = 'string' THEN fields ->> field END AS text,
    unit,
    coalesce(event_time(fields ->> 'sampleTime'), event_time(payload ->> 'updateTime'), timestamp) AS time,
    received_at,
    coalesce(payload -> 'isBackfilled' = 'true', FALSE) AS is_backfilled,
    document #>> '{labels,name}' AS name
FROM events
CROSS JOIN LATERAL (SELECT event_document(body) AS document OFFSET 0) AS documents
CROSS JOIN LATERAL (SELECT document #> ARRAY['event', 'data', event_type] AS payload) AS payloads
-- DT sends the newest sample first, equal to the values beside it; events of before 2021 have those values alone.
CROSS JOIN LATERAL jsonb_array_elements(
    CASE WHEN jsonb_typeof(payload #> '{samples,0}') = 'object'
        THEN payload -> 'samples' ELSE jsonb_build_array(payload) END
) WITH ORDINALITY AS samples (fields, number)
JOIN quantities USING (event_type)
CROSS JOIN LATERAL (SELECT jsonb_typeof(fields -> field) AS type) AS types
WHERE
    parsed
    AND jsonb_typeof(fields) = 'object'
    AND CASE
        WHEN field IS NULL THEN TRUE
        WHEN unit IS NULL THEN type = 'string'
        -- what double precision can hold; JSON can say 1e999
        WHEN type = 'number' THEN abs((fields ->> field)::numeric) < 1e308
        ELSE FALSE
    END;

-- The newest reading of each quantity of each device: by event time, so that a backfilled event never shows as news.
CREATE OR REPLACE VIEW latest AS
SELECT readings.*
FROM (
    SELECT DISTINCT ON (device_id, event_type) key
    FROM events
    WHERE parsed AND device_id IS NOT NULL
    ORDER BY device_id, event_type, timestamp DESC
) AS newest
JOIN readings USING (key)
WHERE sample = 0;
