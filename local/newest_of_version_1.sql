-- Fills `newest` from the index that the first version has: a step for each device and type, whatever their events.

INSERT INTO newest
WITH RECURSIVE devices (device_id) AS (
    SELECT min(device_id) FROM events
    UNION ALL
    SELECT (SELECT min(device_id) FROM events WHERE device_id > devices.device_id) FROM devices WHERE device_id NOT NULL
),
series (device_id, event_type) AS (
    SELECT device_id, (SELECT min(event_type) FROM events WHERE device_id = devices.device_id)
    FROM devices WHERE device_id NOT NULL
    UNION ALL
    SELECT device_id, (
        SELECT min(event_type) FROM events WHERE device_id = series.device_id AND event_type > series.event_type
    )
    FROM series WHERE event_type NOT NULL
),
times (device_id, event_type, timestamp) AS (
    SELECT device_id, event_type, (
        SELECT max(timestamp) FROM events
        WHERE device_id = series.device_id AND event_type = series.event_type AND parsed
    )
    FROM series
)
SELECT * FROM times WHERE timestamp NOT NULL
ON CONFLICT DO UPDATE SET timestamp = excluded.timestamp WHERE excluded.timestamp > timestamp;
