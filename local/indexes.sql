-- Apart from schema.sql, because on a large table of the first version these take a while.

-- By event time, or by arrival where an event has none. device_id is there to find a device's events without the table.
CREATE INDEX IF NOT EXISTS events_by_time ON events (coalesce(timestamp, received_at) DESC, device_id);

DROP INDEX IF EXISTS events_of_device;
