output "url" {
  description = "The endpoint URL for the Data Connector."
  value       = google_cloudfunctions2_function.receiver.service_config[0].uri
}

output "project" {
  description = "The project that all of it is in."
  value       = var.project
}

output "region" {
  description = "The region that all of it is in."
  value       = var.region
}

output "secret" {
  description = "Where the signature secret is. To read it: gcloud secrets versions access \"$(terraform output -raw secret_version)\" --secret=\"$(terraform output -raw secret)\""
  value       = google_secret_manager_secret.signature.secret_id
}

output "secret_version" {
  description = "The version of the secret that the function verifies with."
  value       = local.secret_version
}

output "topic" {
  description = "The topic of events; null with store firestore."
  value       = one(google_pubsub_topic.events[*].id)
}

output "subscription" {
  description = "The subscription for a consumer of yours, if there is one. To look into it: gcloud pubsub subscriptions pull \"$(terraform output -raw subscription)\" --limit=1"
  value       = one(google_pubsub_subscription.events[*].id)
}

output "dead_letters" {
  description = "The subscription to what could not be delivered; null with store firestore."
  value       = one(google_pubsub_subscription.dead_letters[*].id)
}

output "table" {
  description = "The BigQuery table of messages, if there is one."
  value       = local.messages
}

output "readings" {
  description = "The BigQuery view of all readings. To ask it: bq query --use_legacy_sql=false \"SELECT * FROM \\`$(terraform output -raw readings)\\` ORDER BY time DESC LIMIT 10\""
  value       = local.readings
}

output "latest" {
  description = "The BigQuery view of the newest reading of each quantity of each device."
  value       = local.latest
}

output "database" {
  description = "The Firestore database, of events or of the keys that were seen, if there is one."
  value       = one(google_firestore_database.events[*].name)
}

output "source" {
  description = "What to give to dtconn events --from."
  value = coalesce(
    local.in_firestore ? "firestore:${google_firestore_database.events[0].id}" : null,
    local.has_bigquery ? "bigquery:${local.messages}" : null,
    local.in_topic && var.subscription ? "pubsub:${google_pubsub_subscription.events[0].id}" : null,
    "none",
  )
}

output "dashboard" {
  description = "The dashboard."
  value       = "https://console.cloud.google.com/monitoring/dashboards/builder/${basename(google_monitoring_dashboard.receiver.id)}?project=${var.project}"
}

output "make_public" {
  description = "With public_access = none: what lets DT call the function. Again after each apply that changed the function."
  value       = local.make_public
}
