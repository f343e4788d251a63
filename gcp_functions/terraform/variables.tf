variable "project" {
  type        = string
  description = "The id of the Google Cloud project. Billing must be enabled."
}

variable "region" {
  type        = string
  default     = "europe-west1"
  description = "The region of everything: the function, the topic's messages, Firestore, BigQuery and the secret."
}

variable "name" {
  type        = string
  default     = "dt-receiver"
  description = "The prefix of the names of all resources. Two receivers in one project need two names, and two of database."

  # A service account's name has from 6 to 30 characters, and the one of the builds ends in "-build".
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,22}[a-z0-9]$", var.name))
    error_message = "A lower-case letter, then from 5 to 23 lower-case letters, digits and hyphens, the last no hyphen."
  }
}

variable "package" {
  type        = string
  default     = null
  description = "The zip that `make package-gcp` writes. Default: its path, dist/gcp_functions.zip."
}

variable "labels" {
  type        = map(string)
  default     = {}
  description = "Labels of everything that can have some, such as { team = \"facilities\" }."
}

# ---- stores ----------------------------------------------------------------------------------------------------------

variable "store" {
  type        = string
  default     = "pubsub"
  description = "Where an event is stored before it is acknowledged. pubsub: a topic, for BigQuery and your own consumers; an event can be in it twice, with the same key. firestore: a database, which keeps each event once."

  validation {
    condition     = contains(["pubsub", "firestore"], var.store)
    error_message = "pubsub or firestore."
  }
}

variable "seen_keys" {
  type        = string
  default     = "firestore"
  description = "Store pubsub only. firestore: a repeated event is published once, because Firestore has the keys of published events. none: it is published again, with the same key, and nothing is written to Firestore."

  validation {
    condition     = contains(["firestore", "none"], var.seen_keys)
    error_message = "firestore or none."
  }
}

variable "ordering" {
  type        = string
  default     = "none"
  description = "Store pubsub only. device: the messages of a device are ordered, by arrival. A message that a consumer cannot handle then holds up its device. Choose before the first apply: a subscription cannot be changed to it."

  validation {
    condition     = contains(["none", "device"], var.ordering)
    error_message = "none or device."
  }
  validation {
    condition     = var.ordering == "none" || var.store == "pubsub"
    error_message = "ordering = \"device\" needs store = \"pubsub\"."
  }
}

variable "bigquery" {
  type        = bool
  default     = true
  description = "Store pubsub only. true: each event is also written to a BigQuery table, with views that show its readings."
}

variable "subscription" {
  type        = bool
  default     = false
  description = "Store pubsub only. true: creates a subscription for your own consumer. An event that is not consumed raises an alert after a day."

  validation {
    condition     = !var.subscription || var.store == "pubsub"
    error_message = "subscription = true is for the topic. With store = \"firestore\" there is no topic: set subscription = false."
  }
  validation {
    condition     = var.store != "pubsub" || var.bigquery || var.subscription
    error_message = "Events would be acknowledged and not processed: set bigquery = true, or subscription = true, or both."
  }
}

variable "retention_days" {
  type        = number
  default     = 7
  description = "Store pubsub only. Days for which the topic keeps each message, acknowledged or not, for a replay; and for which the subscriptions keep unacknowledged messages. 1 to 31."

  validation {
    condition     = var.retention_days >= 1 && var.retention_days <= 31 && floor(var.retention_days) == var.retention_days
    error_message = "A whole number from 1 to 31."
  }
}

variable "database" {
  type        = string
  default     = "dt-events"
  description = "The Firestore database to create. It must not exist yet."

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{2,61}[a-z0-9]$", var.database))
    error_message = "From 4 to 63 lower-case letters, digits and hyphens, the first a letter, the last no hyphen."
  }
}

variable "keep_days" {
  type        = number
  default     = 365
  description = "Days to keep an event in Firestore; with store pubsub, in BigQuery, and days to remember that it was seen. 0: for ever."

  validation {
    condition     = var.keep_days >= 0 && var.keep_days <= 9999 && floor(var.keep_days) == var.keep_days
    error_message = "A whole number from 0 to 9999."
  }
}

# ---- authentication --------------------------------------------------------------------------------------------------

variable "signature_policy" {
  type        = string
  default     = "any"
  description = "Which signatures a request must have. any: at least one configured here. hs256: the signature with the secret. es256: DT's asymmetric one, which needs organization_id. both: both."

  validation {
    condition     = contains(["any", "hs256", "es256", "both"], var.signature_policy)
    error_message = "any, hs256, es256 or both."
  }
  validation {
    condition     = !contains(["es256", "both"], var.signature_policy) || var.organization_id != ""
    error_message = "es256 and both need organization_id."
  }
}

variable "secret_version" {
  type        = string
  default     = null
  description = "The version of the secret to verify with, a number. Leave it out until you change the secret: until then it is the first version, which Terraform creates. Never remove it again, or Terraform creates a new secret."

  # Not "latest": what an instance has would depend on when it started.
  validation {
    condition     = var.secret_version == null || can(regex("^[1-9][0-9]*$", var.secret_version))
    error_message = "A number, such as \"2\". `gcloud secrets versions list` shows them."
  }
}

variable "organization_id" {
  type        = string
  default     = ""
  description = "The id of your organization at DT, or several, joined by commas. Turns on DT's asymmetric signature."
}

variable "accept_expired_for" {
  type        = number
  default     = 0
  description = "Seconds after its expiry for which an otherwise valid signature is still accepted. After an outage of more than an hour, set 46800 if the log says \"refused: expired\"; then 0 again."

  validation {
    condition     = var.accept_expired_for >= 0 && var.accept_expired_for <= 86400
    error_message = "From 0 to 86400."
  }
}

variable "event_types" {
  type        = string
  default     = ""
  description = "The event type to keep, or several, joined by commas. Others are acknowledged and dropped. Empty: all."
}

variable "project_ids" {
  type        = string
  default     = ""
  description = "The id of the project at DT to keep events of, or several, joined by commas. Others are acknowledged and dropped. Empty: all."
}

variable "public_access" {
  type        = string
  default     = "no_iam_check"
  description = "How DT, which has no account at Google, may call the function. no_iam_check: Cloud Run does not check callers; works with an organization policy that restricts sharing by domain, and needs gcloud where Terraform runs. all_users: allUsers may call it, unless such a policy forbids that. none: nobody may, until you run the command in the output make_public."

  validation {
    condition     = contains(["no_iam_check", "all_users", "none"], var.public_access)
    error_message = "no_iam_check, all_users or none."
  }
}

# ---- the function ----------------------------------------------------------------------------------------------------

variable "memory" {
  type        = string
  default     = "512Mi"
  description = "Memory of an instance of the function."
}

variable "min_instances" {
  type        = number
  default     = 0
  description = "Instances that always run. 1 avoids a cold start for the first event after a pause, and is charged all day."
}

variable "max_instances" {
  type        = number
  default     = 10
  description = "Maximum number of instances, which limits the cost of a flood."

  validation {
    condition     = var.max_instances >= 1 && var.max_instances >= var.min_instances
    error_message = "At least 1, and at least min_instances."
  }
}

variable "concurrency" {
  type        = number
  default     = 20
  description = "Concurrent requests per instance, which gets as many threads."

  validation {
    condition     = var.concurrency >= 1 && var.concurrency <= 250
    error_message = "From 1 to 250."
  }
}

# ---- monitoring ------------------------------------------------------------------------------------------------------

variable "alarm_email" {
  type        = string
  default     = ""
  description = "Where alerts are sent. Empty: they are shown in Cloud Monitoring only."
}

variable "silence_minutes" {
  type        = number
  default     = 60
  description = "Alert when no event was stored for this many minutes, up to 1410. Counted from the first event."

  # A condition can look back 23 hours and 30 minutes, no longer.
  validation {
    condition     = var.silence_minutes >= 1 && var.silence_minutes <= 1410
    error_message = "From 1 to 1410."
  }
}

variable "budget_amount" {
  type        = number
  default     = 0
  description = "A budget for the whole project, in the billing account's currency for each month: a mail at half of it, and at all of it. It stops nothing. 0: none."

  validation {
    condition     = var.budget_amount >= 0 && floor(var.budget_amount) == var.budget_amount
    error_message = "A whole number, at least 0."
  }
  validation {
    condition     = var.budget_amount == 0 || var.billing_account != ""
    error_message = "budget_amount needs billing_account."
  }
}

variable "billing_account" {
  type        = string
  default     = ""
  description = "For budget_amount: the id of the project's billing account, which `gcloud billing projects describe` shows. You need the role Billing Account Costs Manager on it."
}
