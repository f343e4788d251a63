# Events are devices/{device}/events/e.{key}; keys that were seen are seenKeys/e.{key}.
resource "google_firestore_database" "events" {
  count                             = local.has_firestore ? 1 : 0
  name                              = var.database
  location_id                       = var.region
  type                              = "FIRESTORE_NATIVE"
  delete_protection_state           = "DELETE_PROTECTION_ENABLED"
  point_in_time_recovery_enablement = "POINT_IN_TIME_RECOVERY_ENABLED"

  depends_on = [time_sleep.apis]

  lifecycle {
    prevent_destroy = true
  }
}

# Deleted within a day after that time. Not indexed: nobody asks for it, and times that only grow are slow to index.
resource "google_firestore_field" "expires_at" {
  for_each   = toset(local.has_firestore ? ["events", "seenKeys"] : [])
  database   = google_firestore_database.events[0].name
  collection = each.key
  field      = "expiresAt"

  ttl_config {}
  index_config {}
}

# Firestore indexes the first 1,500 bytes of it otherwise, twice.
resource "google_firestore_field" "body" {
  count      = local.in_firestore ? 1 : 0
  database   = google_firestore_database.events[0].name
  collection = "events"
  field      = "body"

  index_config {}
}

# The newest events of a type of a device, in one query. Those of all types need no index of ours.
resource "google_firestore_index" "events" {
  count      = local.in_firestore ? 1 : 0
  database   = google_firestore_database.events[0].name
  collection = "events"

  fields {
    field_path = "eventType"
    order      = "ASCENDING"
  }
  fields {
    field_path = "timestamp"
    order      = "DESCENDING"
  }
}

# For `dtconn`: all devices' events by time and by type; and those that could not be parsed, by arrival, because an
# event without a timestamp is not in an index by timestamp.
locals {
  indexes = {
    types-of-all    = { scope = "COLLECTION_GROUP", field = "eventType", time = "timestamp" }
    unparsed        = { scope = "COLLECTION", field = "parsed", time = "receivedAt" }
    unparsed-of-all = { scope = "COLLECTION_GROUP", field = "parsed", time = "receivedAt" }
  }
  # Instead of those by Firestore, which are ascending and descending in the collection of a device. An index of all
  # devices by a time takes 500 writes a second: https://cloud.google.com/firestore/docs/best-practices#index_exemptions
  times = {
    timestamp  = ["COLLECTION ASCENDING", "COLLECTION DESCENDING", "COLLECTION_GROUP DESCENDING"]
    receivedAt = ["COLLECTION_GROUP ASCENDING"]
  }
}

resource "google_firestore_index" "all_events" {
  for_each    = { for name, index in local.indexes : name => index if local.in_firestore }
  database    = google_firestore_database.events[0].name
  collection  = "events"
  query_scope = each.value.scope

  fields {
    field_path = each.value.field
    order      = "ASCENDING"
  }
  fields {
    field_path = each.value.time
    order      = "DESCENDING"
  }
}

resource "google_firestore_field" "times" {
  for_each   = { for field, indexes in local.times : field => indexes if local.in_firestore }
  database   = google_firestore_database.events[0].name
  collection = "events"
  field      = each.key

  index_config {
    dynamic "indexes" {
      for_each = each.value

      content {
        query_scope = split(" ", indexes.value)[0]
        order       = split(" ", indexes.value)[1]
      }
    }
  }
}
