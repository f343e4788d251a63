"""A gRPC server in front of one of Google's emulators, which sees, counts and refuses calls."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

_METADATA = [("authorization", "Bearer owner")]


class GrpcFront:
    """The server.

    Attributes:
        host: Its address, for the variable of the emulator.
        calls: The method and the request of each call.
        fault: Returns the status with which a call is refused, by its method; None passes it on.

    Args:
        emulator: Its address.
        service: The full name of the service.
        methods: Request and answer of each method. A method whose answer is a tuple of one streams it.
    """

    def __init__(self, emulator: str, service: str, methods: Mapping[str, tuple[Any, Any]]) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.fault: Callable[[str], grpc.StatusCode | None] = lambda _: None
        self._channel = grpc.insecure_channel(emulator)
        self._server = grpc.server(ThreadPoolExecutor(32))
        self._service = service
        handlers = {name: self._handler(name, *types) for name, types in methods.items()}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
        self.host = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def close(self) -> None:
        """Stop."""
        self._server.stop(None).wait()
        self._channel.close()

    def check(self, method: str, asked: Any) -> grpc.StatusCode | None:
        """Return the status with which to refuse a call."""
        return self.fault(method)

    def saw(self, method: str, answer: Any) -> None:
        """Look at an answer."""

    def _handler(self, name: str, request: Any, response: Any) -> Any:
        path = f"/{self._service}/{name}"

        def enter(asked: Any, context: Any) -> None:
            self.calls.append((name, asked))
            status = self.check(name, asked)
            if status:
                context.abort(status, "a secret")

        if isinstance(response, tuple):
            [response] = response
            streamed = self._channel.unary_stream(path, request.serialize, response.deserialize)

            def stream(asked: Any, context: Any) -> Iterator[Any]:
                enter(asked, context)
                for part in streamed(asked, metadata=_METADATA, timeout=context.time_remaining()):
                    self.saw(name, part)
                    yield part

            return grpc.unary_stream_rpc_method_handler(stream, request.deserialize, response.serialize)
        single = self._channel.unary_unary(path, request.serialize, response.deserialize)

        def answer(asked: Any, context: Any) -> Any:
            enter(asked, context)
            try:
                found = single(asked, metadata=_METADATA, timeout=context.time_remaining())
            except grpc.RpcError as error:
                context.abort(error.code(), error.details())
            self.saw(name, found)
            return found

        return grpc.unary_unary_rpc_method_handler(answer, request.deserialize, response.serialize)
