# A table of the topic's messages, and views of their readings, without any code in between.

locals {
  dataset  = local.has_bigquery ? "${var.project}.${google_bigquery_dataset.events[0].dataset_id}" : null
  messages = local.has_bigquery ? "${local.dataset}.${google_bigquery_table.messages[0].table_id}" : null
  readings = local.has_bigquery ? "${local.dataset}.${google_bigquery_table.readings[0].table_id}" : null
  latest   = local.has_bigquery ? "${local.dataset}.${google_bigquery_table.latest[0].table_id}" : null
}

resource "google_bigquery_dataset" "events" {
  count                      = local.has_bigquery ? 1 : 0
  dataset_id                 = replace(var.name, "-", "_")
  location                   = var.region
  description                = "Events of DT's Data Connectors. Begin with the views: readings, latest."
  delete_contents_on_destroy = false

  depends_on = [time_sleep.apis]

  lifecycle {
    prevent_destroy = true
  }
}

# The columns are those that a subscription without a schema writes: https://cloud.google.com/pubsub/docs/bigquery
# BYTES accepts every body; JSON would reject signed bodies that are not JSON.
resource "google_bigquery_table" "messages" {
  count               = local.has_bigquery ? 1 : 0
  dataset_id          = google_bigquery_dataset.events[0].dataset_id
  table_id            = "messages"
  description         = "Each message of the topic, unchanged. An event that was published twice is here twice."
  deletion_protection = true

  schema = jsonencode([
    { name = "subscription_name", type = "STRING", mode = "NULLABLE" },
    { name = "message_id", type = "STRING", mode = "NULLABLE" },
    { name = "publish_time", type = "TIMESTAMP", mode = "NULLABLE" },
    { name = "data", type = "BYTES", mode = "NULLABLE", description = "The bytes that DT signed, or, if signedBy is fetched, what dtconn wrote of a fetched event" },
    { name = "attributes", type = "JSON", mode = "NULLABLE", description = "key, eventId, eventType, deviceId, projectId, timestamp, receivedAt, signedBy, parsed" },
  ])

  time_partitioning {
    type          = "DAY"
    field         = "publish_time"
    expiration_ms = var.keep_days == 0 ? null : var.keep_days * 86400000
  }

  lifecycle {
    prevent_destroy = true
  }
}

resource "google_bigquery_table" "readings" {
  count               = local.has_bigquery ? 1 : 0
  dataset_id          = google_bigquery_dataset.events[0].dataset_id
  table_id            = "readings"
  description         = "One row for each sample and quantity, with its unit. Each event once."
  deletion_protection = false

  view {
    query          = templatefile("${path.module}/readings.sql.tftpl", { messages = local.messages })
    use_legacy_sql = false
  }
}

resource "google_bigquery_table" "latest" {
  count               = local.has_bigquery ? 1 : 0
  dataset_id          = google_bigquery_dataset.events[0].dataset_id
  table_id            = "latest"
  description         = "The newest reading of each quantity of each device, by the time of the event."
  deletion_protection = false

  view {
    query          = templatefile("${path.module}/latest.sql.tftpl", { messages = local.messages, readings = local.readings })
    use_legacy_sql = false
  }
}

resource "google_pubsub_subscription" "bigquery" {
  count                      = local.has_bigquery ? 1 : 0
  name                       = "${var.name}-bigquery"
  topic                      = google_pubsub_topic.events[0].id
  message_retention_duration = local.retention

  bigquery_config {
    table          = local.messages
    write_metadata = true
  }
  expiration_policy {
    ttl = "" # never
  }
  # No body is refused by a column of bytes, so what fails is BigQuery, or a permission. 100 attempts, the most there
  # are, with up to 10 minutes between, are more than half a day.
  dead_letter_policy {
    dead_letter_topic     = google_pubsub_topic.dead_letters[0].id
    max_delivery_attempts = 100
  }
  retry_policy {
    minimum_backoff = "10s"
    maximum_backoff = "600s"
  }

  # Pub/Sub looks whether it may write, and refuses to make the subscription if not.
  depends_on = [time_sleep.permissions]

  lifecycle {
    prevent_destroy = true
  }
}

# Pub/Sub writes as itself, to this table and no other.
resource "google_bigquery_table_iam_member" "pubsub" {
  count      = local.has_bigquery ? 1 : 0
  dataset_id = google_bigquery_dataset.events[0].dataset_id
  table_id   = google_bigquery_table.messages[0].table_id
  role       = "roles/bigquery.dataEditor"
  member     = local.pubsub_agent

  depends_on = [time_sleep.pubsub_agent]
}

resource "google_pubsub_subscription_iam_member" "bigquery" {
  count        = local.has_bigquery ? 1 : 0
  subscription = google_pubsub_subscription.bigquery[0].id
  role         = "roles/pubsub.subscriber"
  member       = local.pubsub_agent

  depends_on = [time_sleep.pubsub_agent]
}
