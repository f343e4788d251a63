-- The events, and two views of them. Applied by release.py, which also builds the indexes; may be applied again at any
-- time, while events are written.

CREATE TABLE IF NOT EXISTS events (
    key          text PRIMARY KEY,
    event_id     text,
    event_type   text,
    device_id    text,
    project_id   text,
    timestamp    timestamptz,
    received_at  timestamptz NOT NULL,
    signed_by    text,                   -- NULL in rows that are older than this column; 'fetched': nobody signed it
    parsed       boolean NOT NULL,
    body         bytea NOT NULL,         -- the bytes that were signed or fetched; text and jsonb refuse some
    attempts     smallint NOT NULL DEFAULT 0,
    processed_at timestamptz,
    retry_at     timestamptz             -- these three for worker.py
);

-- Only what is missing: ALTER TABLE waits for all readers of the table, and later ones wait for it.
DO $$ DECLARE
    missing record;
BEGIN
    FOR missing IN
        SELECT * FROM (VALUES ('signed_by', 'text'), ('retry_at', 'timestamptz')) AS added (name, type)
        WHERE NOT EXISTS (
            SELECT FROM pg_attribute WHERE attrelid = 'events'::regclass AND attname = name AND NOT attisdropped
        )
    LOOP
        EXECUTE format('ALTER TABLE events ADD COLUMN %I %s', missing.name, missing.type);
    END LOOP;
END $$;

-- A body as jsonb, or NULL if it is not JSON. jsonb rejects \u0000 and lone surrogates, which JSON allows, for example
-- in a label: U+FFFD replaces them here, so that the rest of the event can be queried. The body keeps them. The first
-- lookbehind skips escaped backslashes: "\\u0000" is text.
CREATE OR REPLACE FUNCTION event_document(body bytea) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE STRICT AS $$
BEGIN
    RETURN convert_from(body, 'UTF8')::jsonb;
EXCEPTION WHEN others THEN
    BEGIN
        RETURN regexp_replace(
            convert_from(body, 'UTF8'),
            '(?<=(?<!\\)(\\\\)*)(\\u0000|\\ud[89ab][0-9a-f]{2}(?!\\ud[c-f])|(?<!\\ud[89ab][0-9a-f]{2})\\ud[c-f][0-9a-f]{2})',
            '\\ufffd', 'gi'
        )::jsonb;
    EXCEPTION WHEN others THEN
        RETURN NULL;
    END;
END $$;

-- An RFC 3339 time, or NULL if invalid: a bad row must not make every query fail. As core.event.read_time: only years
-- that Python supports, nanoseconds are cut off, and 23:59:60 is the next second.
CREATE OR REPLACE FUNCTION event_time(text) RETURNS timestamptz LANGUAGE plpgsql STABLE STRICT AS $$
DECLARE
    time timestamptz;
BEGIN
    IF $1 !~* '^\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$' THEN
        RETURN NULL;
    END IF;
    IF length($1) <= 27 AND substr($1, 18, 2) <> '60' THEN
        time := $1;
    ELSIF substr($1, 18, 2) <> '60' THEN
        time := regexp_replace($1, '(\.\d{6})\d+', '\1');
    ELSE
        time := regexp_replace(overlay($1 PLACING '59' FROM 18), '(\.\d{6})\d+', '\1')::timestamptz + interval '1 s';
    END IF;
    RETURN CASE WHEN time >= '0001-01-01T00:00:00Z' AND time < '10000-01-01T00:00:00Z' THEN time END;
EXCEPTION WHEN others THEN
    RETURN NULL;
END $$;

-- Whether the sensor sent an event late, from its memory.
CREATE OR REPLACE FUNCTION is_late(event_type text, body bytea) RETURNS boolean LANGUAGE sql IMMUTABLE BEGIN ATOMIC
    SELECT coalesce(event_document($2) #> ARRAY['event', 'data', $1, 'isBackfilled'] = 'true', FALSE);
END;

-- The quantities of core/readings.py; a test compares them.
CREATE OR REPLACE VIEW quantities (event_type, field, quantity, unit) AS VALUES
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
    ('connectionLatency', 'maxLatencyMillis', 'maxLatencyMillis', 'ms');
-- An inlined function reads with the caller's rights. This is a constant list.
GRANT SELECT ON quantities TO PUBLIC;

-- The samples of an event; `sent` is its time. This and sample_readings are functions of one query, which the planner
-- inlines. ATOMIC binds the names here, whatever the caller's search_path.
CREATE OR REPLACE FUNCTION event_samples(event_type text, body bytea, sent timestamptz) RETURNS TABLE (
    sample int, fields jsonb, "time" timestamptz, is_backfilled boolean, name text
) LANGUAGE sql STABLE BEGIN ATOMIC
SELECT
    (number - 1)::int, fields,
    -- Most of these equal the text of `sent`, and a comparison is cheaper than event_time.
    coalesce(
        CASE WHEN fields ->> 'sampleTime' = timestamp THEN $3 ELSE event_time(fields ->> 'sampleTime') END,
        CASE WHEN payload ->> 'updateTime' = timestamp THEN $3 ELSE event_time(payload ->> 'updateTime') END,
        $3
    ),
    coalesce(payload -> 'isBackfilled' = 'true', FALSE),
    CASE WHEN jsonb_typeof(label) = 'string' THEN label #>> '{}' END
-- DT sends the newest sample first, equal to the values beside it; events from before 2021 have only those values. Each
-- OFFSET prevents its subquery from being computed more than once per row.
FROM (
    SELECT payload, timestamp, label, fields, number
    FROM (SELECT event_document($2) AS document OFFSET 0) AS documents
    CROSS JOIN LATERAL (
        SELECT
            document #> ARRAY['event', 'data', $1] AS payload,
            CASE WHEN $3 IS NOT NULL THEN document #>> '{event,timestamp}' END AS timestamp,
            document #> '{labels,name}' AS label
        OFFSET 0
    ) AS parts
    CROSS JOIN LATERAL jsonb_array_elements(
        CASE WHEN jsonb_typeof(payload -> 'samples') = 'array' AND jsonb_typeof(payload #> '{samples,0}') = 'object'
            THEN payload -> 'samples' ELSE jsonb_build_array(payload) END
    ) WITH ORDINALITY AS samples (fields, number)
    OFFSET 0
) AS samples
WHERE jsonb_typeof(fields) = 'object';
END;

-- The readings of a sample: one row per quantity.
CREATE OR REPLACE FUNCTION sample_readings(event_type text, fields jsonb) RETURNS TABLE (
    quantity text, value double precision, text text, unit text
) LANGUAGE sql STABLE BEGIN ATOMIC
SELECT
    quantity,
    -- A number below the smallest double is 0, as Python reads it.
    CASE WHEN type = 'number' THEN
        CASE WHEN abs(found::numeric) < 2.2250738585072014e-308 THEN 0 ELSE found::double precision END
    END,
    CASE WHEN type = 'string' THEN found #>> '{}' END,
    unit
FROM quantities
CROSS JOIN LATERAL (
    SELECT found, jsonb_typeof(found) AS type FROM (SELECT $2 -> field AS found) AS found OFFSET 0
) AS found
WHERE
    quantities.event_type = $1
    AND CASE
        WHEN field IS NULL THEN TRUE
        WHEN unit IS NULL THEN type = 'string'
        -- the range of double precision; JSON allows 1e999
        WHEN type = 'number' THEN abs(found::numeric) < 1e308
        ELSE FALSE
    END;
END;

-- The readings of each event. A limit on event_time uses the index events_by_time.
CREATE OR REPLACE VIEW readings AS
SELECT
    key, device_id, project_id, event_type, sample, quantity, value, text, unit, time, received_at, is_backfilled, name,
    -- CREATE OR REPLACE VIEW accepts new columns only at the end.
    signed_by,
    coalesce(timestamp, received_at) AS event_time
FROM events
CROSS JOIN LATERAL event_samples(event_type, body, timestamp) AS samples
CROSS JOIN LATERAL sample_readings(event_type, fields) AS found
WHERE parsed;

-- The newest reading of each quantity of each device, by event time, so that a backfilled event never counts as new.
-- It steps from one device to the next by the index events_by_device, and looks up each type of each device in
-- events_of_device (https://wiki.postgresql.org/wiki/Loose_indexscan): its time grows with the devices, not with the
-- events. By collation "C", because that index has it, which halves the cost of a step.
CREATE OR REPLACE VIEW latest AS
WITH RECURSIVE steps (device_id) AS (
    SELECT min(device_id COLLATE "C") FROM events
    UNION ALL
    SELECT next.device_id FROM steps CROSS JOIN LATERAL (
        SELECT events.device_id COLLATE "C" AS device_id FROM events WHERE events.device_id > steps.device_id
        ORDER BY 1 LIMIT 1
    ) AS next
)
SELECT
    key, device_id, project_id, types.event_type, sample, quantity, value, text, unit, time, received_at, is_backfilled,
    name, signed_by, coalesce(timestamp, received_at) AS event_time
FROM (SELECT device_id COLLATE "default" AS device_id FROM steps) AS devices
CROSS JOIN (SELECT DISTINCT event_type FROM quantities) AS types
CROSS JOIN LATERAL (
    SELECT key, project_id, timestamp, received_at, signed_by, samples.* FROM (
        SELECT key, project_id, timestamp, received_at, signed_by, body FROM events
        WHERE parsed AND events.device_id = devices.device_id AND events.event_type = types.event_type
        ORDER BY timestamp DESC LIMIT 1
    ) AS events
    CROSS JOIN LATERAL event_samples(types.event_type, body, timestamp) AS samples
    WHERE sample = 0
    -- Without it, the planner would cache all bodies to find equal ones (Memoize).
    OFFSET 0
) AS newest
CROSS JOIN LATERAL sample_readings(types.event_type, fields) AS found;

-- When each device was last seen, by the rule of readers/seen.py; NULL if it only sent late readings. It steps from one
-- type of a device to the next in events_of_device, and reads the newest rows of each, up to one that is not late.
CREATE OR REPLACE VIEW seen AS
WITH RECURSIVE steps AS (
    (
        SELECT device_id, event_type FROM events WHERE device_id IS NOT NULL
        ORDER BY device_id, event_type LIMIT 1
    )
    UNION ALL
    SELECT next.* FROM steps CROSS JOIN LATERAL (
        SELECT events.device_id, events.event_type FROM events
        WHERE (events.device_id, events.event_type) > (steps.device_id, steps.event_type)
        ORDER BY 1, 2 LIMIT 1
    ) AS next
)
SELECT DISTINCT ON (device_id) device_id, name, last_seen, key
FROM steps
-- What is older than the newest row that is neither late nor ahead cannot be the sign of life.
LEFT JOIN LATERAL (
    SELECT timestamp FROM events
    WHERE events.device_id = steps.device_id AND events.event_type = steps.event_type AND timestamp <= received_at
        AND NOT is_late(event_type, body)
    ORDER BY timestamp DESC LIMIT 1
) AS newest ON TRUE
CROSS JOIN LATERAL (
    SELECT
        key, timestamp, CASE WHEN NOT is_late(event_type, body) THEN least(timestamp, received_at) END AS last_seen,
        event_document(body) #>> '{labels,name}' AS name
    FROM events
    WHERE events.device_id = steps.device_id AND events.event_type = steps.event_type
        AND timestamp >= coalesce(newest.timestamp, '-infinity')
    ORDER BY last_seen DESC NULLS LAST, timestamp DESC LIMIT 1
) AS found
ORDER BY device_id, last_seen DESC NULLS LAST, found.timestamp DESC;
