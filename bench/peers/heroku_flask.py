"""Flask and psycopg, as `app` for gunicorn."""

import atexit
import os
from datetime import UTC, datetime

from flask import Flask, request
from psycopg_pool import ConnectionPool

from bench.peers.signed import verified

app = Flask(__name__)
_pool = ConnectionPool(os.environ["DATABASE_URL"], min_size=1, max_size=8, open=True)
atexit.register(_pool.close)


@app.get("/healthz")
def healthz() -> str:
    """Answer that it runs."""
    return ""


@app.post("/")
def receive() -> str:
    """Store one delivery."""
    body = request.get_data()
    document = verified(request.headers["X-Dt-Signature"], body)
    event = document["event"]
    row = (event["eventId"], event["eventType"], document["metadata"]["deviceId"], event["timestamp"])
    with _pool.connection() as connection:
        connection.execute(
            "INSERT INTO events (key, event_id, event_type, device_id, timestamp, received_at, parsed, body) "
            "VALUES (%s, %s, %s, %s, %s, %s, true, %s) ON CONFLICT (key) DO NOTHING",
            (f"{row[0]}.{row[1]}.{row[2]}", *row, datetime.now(UTC), body),
        )
    return ""
