"""A gRPC server in front of Firestore's emulator: it counts documents, and refuses queries without an index.

The emulator answers every query. Firestore refuses one that needs an index which nobody made; the rules here are those
of https://cloud.google.com/firestore/docs/query-data/index-overview for the kinds of queries that the reader makes.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import grpc
from google.cloud.firestore_v1.types import (
    ListDocumentsRequest,
    ListDocumentsResponse,
    RunAggregationQueryRequest,
    RunAggregationQueryResponse,
    RunQueryRequest,
    RunQueryResponse,
    StructuredQuery,
)

from tests.gcp_functions.grpc_front import GrpcFront

# Scope, and fields with their order; such as ("COLLECTION", ("parsed ASCENDING", "receivedAt DESCENDING")).
Index = tuple[str, tuple[str, ...]]
_EQUAL = {StructuredQuery.FieldFilter.Operator.EQUAL, StructuredQuery.FieldFilter.Operator.IN}


class FirestoreFront(GrpcFront):
    """The server.

    Attributes:
        read: How many documents the queries returned, which is what Firestore bills.
        indexes: Those that were made; None for any.
        overridden: The fields without Firestore's own indexes.
    """

    def __init__(self, emulator: str, indexes: set[Index] | None = None, overridden: set[str] | None = None) -> None:
        self.read = 0
        self.indexes, self.overridden = indexes, overridden or set()
        methods = {
            "RunQuery": (RunQueryRequest, (RunQueryResponse,)),
            "RunAggregationQuery": (RunAggregationQueryRequest, (RunAggregationQueryResponse,)),
            "ListDocuments": (ListDocumentsRequest, ListDocumentsResponse),
        }
        super().__init__(emulator, "google.firestore.v1.Firestore", methods)

    def check(self, method: str, asked: Any) -> grpc.StatusCode | None:
        """Refuse what needs an index that is not there."""
        if method == "RunAggregationQuery":
            asked = asked.structured_aggregation_query
        if method != "ListDocuments" and not self._has_index(asked.structured_query):
            return grpc.StatusCode.FAILED_PRECONDITION
        return super().check(method, asked)

    def saw(self, method: str, answer: Any) -> None:
        """Count documents."""
        self.read += method == "RunQuery" and "document" in answer

    def _has_index(self, query: StructuredQuery) -> bool:
        if self.indexes is None:
            return True
        scope, fields = needed(query)
        if not fields or (scope, fields) in self.indexes:
            return True
        is_automatic = scope == "COLLECTION" and len(fields) == 1
        return is_automatic and fields[0].split()[0] not in self.overridden


def needed(query: StructuredQuery) -> Index:
    """Return the index that answers a query; no fields if it takes none."""
    scope = "COLLECTION_GROUP" if query.from_[0].all_descendants else "COLLECTION"
    filters = [one.field_filter for one in query.where.composite_filter.filters] or [query.where.field_filter]
    equal = [one.field.field_path for one in filters if one.op in _EQUAL]
    orders = {one.field.field_path: one.direction.name for one in query.order_by}
    for one in filters:
        if one.field.field_path and one.op not in _EQUAL:
            orders.setdefault(one.field.field_path, "ASCENDING")
    by_name = orders.pop("__name__", None)
    assert by_name in (None, "ASCENDING", *list(orders.values())[-1:]), "another index"
    return scope, (*(f"{name} ASCENDING" for name in equal), *(f"{name} {order}" for name, order in orders.items()))


def made(indexes: Iterable[Mapping[str, Any]], fields: Iterable[Mapping[str, Any]]) -> tuple[set[Index], set[str]]:
    """Return Terraform's indexes of events, and the fields that have no index of Firestore's own.

    Args:
        indexes: The instances of ``google_firestore_index``.
        fields: Those of ``google_firestore_field``.
    """
    found: set[Index] = {
        (
            each.get("query_scope", "COLLECTION"),
            tuple(f"{field['field_path']} {field['order']}" for field in each["fields"]),
        )
        for each in indexes
        if each["collection"] == "events"
    }
    of_events = [each for each in fields if each["collection"] == "events"]
    for each in of_events:
        for index in each["index_config"][0].get("indexes", []):
            found.add((index["query_scope"], (f"{each['field']} {index['order']}",)))
    return found, {each["field"] for each in of_events}
