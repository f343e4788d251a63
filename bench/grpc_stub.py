"""``python -m bench.grpc_stub``: a Pub/Sub server over gRPC that accepts everything. It prints its port."""

from concurrent.futures import ThreadPoolExecutor

import grpc
from google.pubsub_v1.types import PublishRequest

# A message id, "1", of a PublishResponse in wire format.
_PUBLISHED = b"\n\x011"


def _publish(request: bytes, _context: object) -> bytes:
    return _PUBLISHED * len(PublishRequest.deserialize(request).messages)


def main() -> None:
    """Serve until the process ends."""
    server = grpc.server(ThreadPoolExecutor(16))
    publish = grpc.unary_unary_rpc_method_handler(_publish)
    handlers = grpc.method_handlers_generic_handler("google.pubsub.v1.Publisher", {"Publish": publish})
    server.add_generic_rpc_handlers((handlers,))
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main()
