resource "google_monitoring_notification_channel" "email" {
  count        = var.alarm_email == "" ? 0 : 1
  display_name = "${var.name}: alerts"
  type         = "email"
  labels       = { email_address = var.alarm_email }

  depends_on = [time_sleep.apis]
}

locals {
  outcomes = ["stored", "duplicate", "dropped", "refused", "failed"]
  of_run   = "resource.type = \"cloud_run_revision\" AND resource.labels.service_name = \"${var.name}\" AND resource.labels.location = \"${var.region}\""
  of_topic = "resource.type = \"pubsub_subscription\" AND resource.labels.subscription_id"
  requests = "metric.type = \"run.googleapis.com/request_count\""
  oldest   = "metric.type = \"pubsub.googleapis.com/subscription/oldest_unacked_message_age\""
  waiting  = "metric.type = \"pubsub.googleapis.com/subscription/num_undelivered_messages\""

  # More than this within five minutes; missing data is no alert. Each condition costs money, so there are few.
  alerts = merge(
    {
      failed = {
        description = "An event could not be stored. DT sends it again, for up to 12 hours. The log has the cause."
        filter      = "${local.of_run} AND metric.type = \"logging.googleapis.com/user/${google_logging_metric.outcomes["failed"].name}\""
        aligner     = "ALIGN_DELTA"
        reducer     = "REDUCE_SUM"
        threshold   = 0
      }
      url-5xx = {
        description = "The URL answered with a 5xx status. DT sends those events again, for up to 12 hours."
        filter      = "${local.of_run} AND ${local.requests} AND metric.labels.response_code_class = \"5xx\""
        aligner     = "ALIGN_DELTA"
        reducer     = "REDUCE_SUM"
        threshold   = 0
      }
      throttles = {
        description = "Requests were turned away, because no instance was free. See max_instances and concurrency."
        filter      = "${local.of_run} AND ${local.requests} AND metric.labels.response_code = \"429\""
        aligner     = "ALIGN_DELTA"
        reducer     = "REDUCE_SUM"
        threshold   = 0
      }
    },
    {
      for subscription in google_pubsub_subscription.events : "age" => {
        description = "An event has been in the subscription for a day. After ${var.retention_days} days Pub/Sub deletes it."
        filter      = "${local.of_topic} = \"${subscription.name}\" AND ${local.oldest}"
        aligner     = "ALIGN_MAX"
        reducer     = "REDUCE_MAX"
        threshold   = 86400
      }
    },
    {
      for subscription in google_pubsub_subscription.bigquery : "bigquery-age" => {
        description = "An event has been on its way to BigQuery for an hour. After ${var.retention_days} days Pub/Sub deletes it. `gcloud pubsub subscriptions describe` shows the state of the subscription."
        filter      = "${local.of_topic} = \"${subscription.name}\" AND ${local.oldest}"
        aligner     = "ALIGN_MAX"
        reducer     = "REDUCE_MAX"
        threshold   = 3600
      }
    },
    {
      for subscription in google_pubsub_subscription.dead_letters : "dead-letters" => {
        description = "A consumer received an event ten times and did not acknowledge it, or BigQuery did not take it. It is among the dead letters."
        filter      = "${local.of_topic} = \"${subscription.name}\" AND ${local.waiting}"
        aligner     = "ALIGN_MAX"
        reducer     = "REDUCE_MAX"
        threshold   = 0
      }
    },
  )
}

# From the receiver's own lines, which say what became of each request.
resource "google_logging_metric" "outcomes" {
  for_each    = toset(local.outcomes)
  name        = "${var.name}/${each.key}"
  description = "Requests with the outcome ${each.key}"
  filter      = "${replace(local.of_run, " = ", "=")} AND jsonPayload.outcome=\"${each.key}\""

  label_extractors = {
    reason = "EXTRACT(jsonPayload.reason)"
  }
  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "INT64"

    labels {
      key         = "reason"
      value_type  = "STRING"
      description = "Why the event was not stored"
    }
  }

  depends_on = [time_sleep.apis]
}

# Cloud Monitoring refuses an alert about a metric that it does not know yet, and says that a new one takes up to ten
# minutes. The provider does not try again: https://github.com/hashicorp/terraform-provider-google/issues/11102
resource "time_sleep" "metrics" {
  create_duration = "600s"

  depends_on = [google_logging_metric.outcomes]
}

resource "google_monitoring_alert_policy" "silence" {
  display_name          = "${var.name}-silence"
  combiner              = "OR"
  notification_channels = google_monitoring_notification_channel.email[*].id

  conditions {
    display_name = "no event stored"

    condition_threshold {
      filter                  = "${local.of_run} AND metric.type = \"logging.googleapis.com/user/${google_logging_metric.outcomes["stored"].name}\""
      comparison              = "COMPARISON_LT"
      threshold_value         = 1
      duration                = "${var.silence_minutes * 60}s"
      evaluation_missing_data = "EVALUATION_MISSING_DATA_ACTIVE"

      aggregations {
        alignment_period     = "60s"
        per_series_aligner   = "ALIGN_DELTA"
        cross_series_reducer = "REDUCE_SUM"
      }
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = "No event was stored for ${var.silence_minutes} minutes. Look at the Data Connector in DT Studio, and for \"refused\" in the log. After 5 days without success DT switches a Data Connector off."
  }

  depends_on = [time_sleep.metrics]
}

resource "google_monitoring_alert_policy" "more_than" {
  for_each              = local.alerts
  display_name          = "${var.name}-${each.key}"
  combiner              = "OR"
  notification_channels = google_monitoring_notification_channel.email[*].id

  conditions {
    display_name = each.key

    condition_threshold {
      filter          = each.value.filter
      comparison      = "COMPARISON_GT"
      threshold_value = each.value.threshold
      duration        = "0s"

      aggregations {
        alignment_period     = "300s"
        per_series_aligner   = each.value.aligner
        cross_series_reducer = each.value.reducer
      }
    }
  }

  # What is over and sends no more data is closed after a day.
  alert_strategy {
    auto_close = "86400s"
  }
  documentation {
    mime_type = "text/markdown"
    content   = each.value.description
  }

  depends_on = [time_sleep.metrics]
}

resource "google_monitoring_dashboard" "receiver" {
  dashboard_json = jsonencode({
    displayName = var.name
    gridLayout = {
      columns = "2"
      widgets = [for title, lines in local.charts : {
        title = title
        xyChart = {
          dataSets = [for line in lines : {
            legendTemplate = line.legend
            plotType       = "LINE"
            timeSeriesQuery = {
              timeSeriesFilter = {
                filter = line.filter
                aggregation = {
                  alignmentPeriod    = "300s"
                  perSeriesAligner   = line.aligner
                  crossSeriesReducer = line.reducer
                }
              }
            }
          }]
        }
      }]
    }
  })

  depends_on = [time_sleep.apis]
}

locals {
  charts = merge(
    {
      Events = [for metric in google_logging_metric.outcomes : {
        legend  = metric.name
        filter  = "${local.of_run} AND metric.type = \"logging.googleapis.com/user/${metric.name}\""
        aligner = "ALIGN_DELTA"
        reducer = "REDUCE_SUM"
      }]
      "Time to answer" = [for reducer in ["REDUCE_PERCENTILE_50", "REDUCE_PERCENTILE_99"] : {
        legend  = reducer
        filter  = "${local.of_run} AND metric.type = \"run.googleapis.com/request_latencies\""
        aligner = "ALIGN_DELTA"
        reducer = reducer
      }]
      "Failed requests" = [for class in ["4xx", "5xx"] : {
        legend  = class
        filter  = "${local.of_run} AND ${local.requests} AND metric.labels.response_code_class = \"${class}\""
        aligner = "ALIGN_DELTA"
        reducer = "REDUCE_SUM"
      }]
    },
    local.in_topic ? {
      "Oldest message (s)" = [for subscription in concat(google_pubsub_subscription.events, google_pubsub_subscription.bigquery) : {
        legend  = subscription.name
        filter  = "${local.of_topic} = \"${subscription.name}\" AND ${local.oldest}"
        aligner = "ALIGN_MAX"
        reducer = "REDUCE_MAX"
      }]
      "Dead letters" = [for subscription in google_pubsub_subscription.dead_letters : {
        legend  = subscription.name
        filter  = "${local.of_topic} = \"${subscription.name}\" AND ${local.waiting}"
        aligner = "ALIGN_MAX"
        reducer = "REDUCE_MAX"
      }]
    } : {},
  )
}

# Its mails go to the billing account's administrators, and to alarm_email.
resource "google_billing_budget" "project" {
  count           = var.budget_amount > 0 ? 1 : 0
  provider        = google.budget
  billing_account = var.billing_account
  display_name    = var.name

  budget_filter {
    projects = ["projects/${data.google_project.this.number}"]
  }
  amount {
    specified_amount {
      units = tostring(var.budget_amount)
    }
  }
  threshold_rules {
    threshold_percent = 0.5
  }
  threshold_rules {
    threshold_percent = 1
  }
  dynamic "all_updates_rule" {
    for_each = google_monitoring_notification_channel.email

    content {
      monitoring_notification_channels = [all_updates_rule.value.id]
    }
  }

  depends_on = [time_sleep.apis]
}
