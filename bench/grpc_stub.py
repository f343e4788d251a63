"""``python -m bench.grpc_stub``: a Pub/Sub server over gRPC that accepts everything. It prints its port."""

from concurrent.futures import ThreadPoolExecutor

import grpc

# A PublishResponse with one message id, "1", in wire format.
_PUBLISHED = b"\n\x011"


def main() -> None:
    """Serve until the process ends."""
    server = grpc.server(ThreadPoolExecutor(16))
    publish = grpc.unary_unary_rpc_method_handler(lambda _request, _context: _PUBLISHED)
    handlers = grpc.method_handlers_generic_handler("google.pubsub.v1.Publisher", {"Publish": publish})
    server.add_generic_rpc_handlers((handlers,))
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main()
