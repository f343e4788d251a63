"""A PUT by ibmcloudant."""

import os

from ibm_cloud_sdk_core import ApiException
from ibm_cloud_sdk_core.authenticators import BasicAuthenticator
from ibmcloudant.cloudant_v1 import CloudantV1

from bench.peers.signed import verified

_cloudant = CloudantV1(BasicAuthenticator("user", "password"))
_cloudant.set_service_url(os.environ["DT_CLOUDANT"].replace("user:password@", ""))


def handle(token: str, body: bytes) -> None:
    """Store one delivery."""
    document = verified(token, body)
    name = f"{document['metadata']['deviceId']}:{document['event']['eventId']}"
    try:
        _cloudant.put_document("events-2026-11", name, {"event": document, "body": body.decode()})
    except ApiException as error:
        if error.status_code != 409:
            raise
