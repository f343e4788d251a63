# Alerts of Cloud Logs, over the lines that the receiver writes, one for each request.

locals {
  has_alerts = var.logs_instance != ""
  is_sent    = var.event_notifications_instance != ""

  # The fields that Code Engine gives a line: https://cloud.ibm.com/docs/codeengine?topic=codeengine-logging
  of_receiver = "message.serviceName:\"codeengine\" AND message._app:\"${var.name}\""

  # A line of JSON may come apart into fields, or stay one text: which, IBM does not say. Each is looked for.
  outcome = {
    for outcome in ["stored", "duplicate", "dropped", "refused", "failed"] :
    outcome => "(message.outcome:\"${outcome}\" OR \"outcome ${outcome}\")"
  }
  kept   = "(${local.outcome["stored"]} OR ${local.outcome["duplicate"]})"
  all_of = "(${local.outcome["stored"]} OR ${local.outcome["duplicate"]} OR ${local.outcome["refused"]} OR ${local.outcome["failed"]})"

  alerts = merge(
    {
      failed = {
        description = "An event could not be stored. DT sends it again, for up to 12 hours. The log has the cause."
        query       = "${local.of_receiver} AND ${local.outcome["failed"]}"
        threshold   = 0
        window      = "minutes_5_or_unspecified"
        priority    = "p2"
      }
      refused = {
        description = "More than ${var.refused_per_hour} requests were refused within an hour: reason has why. Has the secret been changed on one side only?"
        query       = "${local.of_receiver} AND ${local.outcome["refused"]}"
        threshold   = var.refused_per_hour
        window      = "hour_1"
        priority    = "p3"
      }
      databases = {
        description = "Cloudant holds almost as many databases as it may, or there was no room for one. Delete what is old, or have databases for longer: note in the log says how many there are, and where events are kept instead."
        query       = "${local.of_receiver} AND (message.note:databases* OR \"note databases\")"
        threshold   = 0
        window      = "minutes_5_or_unspecified"
        priority    = "p3"
      }
    },
    # What the platform answers by itself, such as 299 when the time is over, makes no line of the receiver's. Whether
    # it makes one of Code Engine's, IBM does not say.
    local.is_application ? {} : {
      platform = {
        description = "The function has a line in its log that the receiver did not write: Code Engine, or Python, had to say something. Events may have been answered without being stored."
        query       = "${local.of_receiver} AND NOT (message.severity:(\"INFO\" OR \"WARNING\" OR \"ERROR\") OR \"severity INFO\" OR \"severity WARNING\" OR \"severity ERROR\")"
        threshold   = 0
        window      = "minutes_5_or_unspecified"
        priority    = "p2"
      }
    },
  )
}

resource "ibm_logs_outgoing_webhook" "alerts" {
  count       = local.is_sent ? 1 : 0
  instance_id = var.logs_instance
  region      = var.region
  name        = var.name
  type        = "ibm_event_notifications"

  ibm_event_notifications {
    event_notifications_instance_id = var.event_notifications_instance
    region_id                       = var.region
  }
}

resource "ibm_logs_alert_definition" "more_than" {
  for_each      = local.has_alerts ? local.alerts : {}
  instance_id   = var.logs_instance
  region        = var.region
  name          = "${var.name}-${each.key}"
  description   = each.value.description
  enabled       = true
  priority      = each.value.priority
  type          = "logs_threshold"
  group_by_keys = []

  logs_threshold {
    condition_type = "more_than_or_unspecified"

    logs_filter {
      simple_filter {
        lucene_query = each.value.query
      }
    }
    rules {
      condition {
        threshold = each.value.threshold

        time_window {
          logs_time_window_specific_value = each.value.window
        }
      }
      override {
        priority = each.value.priority
      }
    }
  }

  incidents_settings {
    notify_on = "triggered_and_resolved"
    minutes   = 60
  }
  # It needs a webhook, so without one there is none.
  dynamic "notification_group" {
    for_each = ibm_logs_outgoing_webhook.alerts[*].external_id
    content {
      group_by_keys = []

      webhooks {
        notify_on = "triggered_and_resolved"
        minutes   = 60

        integration {
          integration_id = notification_group.value
        }
      }
    }
  }
}

# Requests come, and for an hour none of them ends well: not one in ten thousand. Where none come there is no ratio, and
# no alert.
resource "ibm_logs_alert_definition" "none_stored" {
  count         = local.has_alerts ? 1 : 0
  instance_id   = var.logs_instance
  region        = var.region
  name          = "${var.name}-none-stored"
  description   = "Requests come, and for an hour no event was stored. After 5 days without success DT switches a Data Connector off, and after 12 hours it gives an event up."
  enabled       = true
  priority      = "p1"
  type          = "logs_ratio_threshold"
  group_by_keys = []

  logs_ratio_threshold {
    condition_type    = "less_than"
    group_by_for      = "both_or_unspecified"
    ignore_infinity   = true
    numerator_alias   = "kept"
    denominator_alias = "all"

    numerator {
      simple_filter {
        lucene_query = "${local.of_receiver} AND ${local.kept}"
      }
    }
    denominator {
      simple_filter {
        lucene_query = "${local.of_receiver} AND ${local.all_of}"
      }
    }
    rules {
      condition {
        threshold = 0.0001

        time_window {
          logs_ratio_time_window_specific_value = "hour_1"
        }
      }
      override {
        priority = "p1"
      }
    }
  }

  incidents_settings {
    notify_on = "triggered_and_resolved"
    minutes   = 60
  }
  dynamic "notification_group" {
    for_each = ibm_logs_outgoing_webhook.alerts[*].external_id
    content {
      group_by_keys = []

      webhooks {
        notify_on = "triggered_and_resolved"
        minutes   = 60

        integration {
          integration_id = notification_group.value
        }
      }
    }
  }
}
