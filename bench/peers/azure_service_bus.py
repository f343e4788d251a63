"""The synchronous client of azure-servicebus. Its senders may not be shared by threads, so one sends at a time."""

import os
import threading

from azure.servicebus import ServiceBusClient, ServiceBusMessage

from bench.peers.signed import verified

_sender = ServiceBusClient.from_connection_string(os.environ["DT_SERVICE_BUS"]).get_queue_sender("events")
_lock = threading.Lock()


def handle(token: str, body: bytes) -> None:
    """Send one delivery."""
    document = verified(token, body)
    message = ServiceBusMessage(body, message_id=document["event"]["eventId"], content_type="application/json")
    with _lock:
        _sender.send_messages(message)
