# The receiver on Google Cloud: a Cloud Run function, and where it puts events: a Pub/Sub topic with BigQuery behind it
# (bigquery.tf), or a Firestore database (firestore.tf). What watches it is in alerts.tf.

data "google_project" "this" {}

locals {
  in_topic       = var.store == "pubsub"
  in_firestore   = var.store == "firestore"
  has_firestore  = local.in_firestore || var.seen_keys == "firestore"
  has_bigquery   = local.in_topic && var.bigquery
  is_ordered     = local.in_topic && var.ordering == "device"
  retention      = "${var.retention_days * 86400}s"
  zip            = coalesce(var.package, "${path.module}/../../dist/gcp_functions.zip")
  receiver       = "serviceAccount:${google_service_account.receiver.email}"
  build          = "serviceAccount:${google_service_account.build.email}"
  pubsub_agent   = "serviceAccount:service-${data.google_project.this.number}@gcp-sa-pubsub.iam.gserviceaccount.com"
  secret_version = coalesce(var.secret_version, one(google_secret_manager_secret_version.signature[*].version))
  longest_pubsub = "2678400s" # 31 days
  make_public    = "gcloud run services update ${var.name} --project=${var.project} --region=${var.region} --no-invoker-iam-check --quiet"

  settings = merge(
    {
      DT_STORE              = var.store
      DT_KEEP_DAYS          = var.keep_days
      DT_ORGANIZATION_ID    = var.organization_id
      DT_SIGNATURE_POLICY   = var.signature_policy
      DT_ACCEPT_EXPIRED_FOR = var.accept_expired_for
      DT_EVENT_TYPES        = var.event_types
      DT_PROJECT_ID         = var.project_ids
    },
    local.in_topic ? {
      DT_TOPIC     = google_pubsub_topic.events[0].id
      DT_SEEN_KEYS = var.seen_keys
      DT_ORDERING  = var.ordering
    } : {},
    local.has_firestore ? { DT_FIRESTORE = google_firestore_database.events[0].id } : {},
  )

  # For functions-framework, which serves the function. THREADS: it takes 4 for each CPU unless it is told, and further
  # requests would wait in the instance: https://cloud.google.com/functions/docs/configuring/concurrency
  # LOG_EXECUTION_ID: it would read and write each line of the log once more, to add an id. Google sets it to true where
  # it is missing, and Terraform would undo that with each apply.
  framework = {
    THREADS          = var.concurrency
    LOG_EXECUTION_ID = false
  }
}

resource "google_project_service" "apis" {
  for_each = toset(concat(
    [
      "artifactregistry", "cloudbuild", "cloudfunctions", "cloudresourcemanager", "iam", "logging", "monitoring", "run",
      "secretmanager", "storage",
    ],
    local.in_topic ? ["pubsub"] : [],
    local.has_bigquery ? ["bigquery"] : [],
    local.has_firestore ? ["firestore"] : [],
    var.budget_amount > 0 ? ["billingbudgets"] : [],
  ))
  service            = "${each.key}.googleapis.com"
  disable_on_destroy = false
}

# An API that was just enabled refuses calls for a while. The provider waits until it is enabled, and no longer.
resource "time_sleep" "apis" {
  create_duration = "60s"
  triggers        = { apis = join(" ", sort([for api in google_project_service.apis : api.service])) }
}

# ---- the function ----------------------------------------------------------------------------------------------------

# Not google_cloud_run_v2_service: its build_config builds nothing, it takes an image that is there already:
# https://github.com/hashicorp/terraform-provider-google/issues/22263
resource "google_cloudfunctions2_function" "receiver" {
  name        = var.name
  location    = var.region
  description = "Receives the events of DT's Data Connectors"

  build_config {
    runtime         = "python313"
    entry_point     = "receive"
    service_account = google_service_account.build.id

    source {
      storage_source {
        bucket = google_storage_bucket.source.name
        object = google_storage_bucket_object.package.name
      }
    }
  }

  service_config {
    # The receiver answers within 8 seconds, and DT waits for 10.
    timeout_seconds                  = 9
    available_memory                 = var.memory
    available_cpu                    = "1"
    min_instance_count               = var.min_instances
    max_instance_count               = var.max_instances
    max_instance_request_concurrency = var.concurrency
    ingress_settings                 = "ALLOW_ALL"
    all_traffic_on_latest_revision   = true
    service_account_email            = google_service_account.receiver.email
    # What is empty counts as not set, and Google does not keep it.
    environment_variables = { for key, value in merge(local.settings, local.framework) : key => tostring(value) if tostring(value) != "" }

    secret_environment_variables {
      key        = "DT_SIGNATURE_SECRET"
      project_id = var.project
      secret     = google_secret_manager_secret.signature.secret_id
      version    = local.secret_version
    }
  }

  # It must not start without its permissions.
  depends_on = [time_sleep.permissions]
}

# The name has the content's hash, so that the same package is not deployed twice, and another one is.
resource "google_storage_bucket_object" "package" {
  name   = "receiver-${substr(filesha256(local.zip), 0, 16)}.zip"
  bucket = google_storage_bucket.source.name
  source = local.zip

  lifecycle {
    create_before_destroy = true
  }
}

resource "google_storage_bucket" "source" {
  name                        = "${var.project}-${var.name}-source"
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = true # the packages only; anybody can make them again

  depends_on = [time_sleep.apis]
}

# ---- permission to call ----------------------------------------------------------------------------------------------

# google_cloudfunctions2_function has no argument for it:
# https://github.com/hashicorp/terraform-provider-google/issues/23360
# Repeated after each change of the function, which may remove the setting. If it is set, this does nothing.
resource "terraform_data" "no_iam_check" {
  count = var.public_access == "no_iam_check" ? 1 : 0

  provisioner "local-exec" {
    command = local.make_public
  }

  lifecycle {
    replace_triggered_by = [google_cloudfunctions2_function.receiver]
  }
}

resource "google_cloud_run_v2_service_iam_member" "everybody" {
  count    = var.public_access == "all_users" ? 1 : 0
  name     = google_cloudfunctions2_function.receiver.name
  location = var.region
  role     = "roles/run.invoker"
  member   = "allUsers"
}

# ---- identity --------------------------------------------------------------------------------------------------------

resource "google_service_account" "receiver" {
  account_id   = var.name
  display_name = "${var.name}: the function"

  depends_on = [time_sleep.apis]
}

# In a project of today the account that builds by default may do nothing:
# https://cloud.google.com/build/docs/cloud-build-service-account-updates
resource "google_service_account" "build" {
  account_id   = "${var.name}-build"
  display_name = "${var.name}: builds of the function"

  depends_on = [time_sleep.apis]
}

resource "google_project_iam_member" "build" {
  for_each = toset(["roles/artifactregistry.writer", "roles/logging.logWriter", "roles/storage.objectViewer"])
  project  = var.project
  role     = each.key
  member   = local.build
}

resource "google_secret_manager_secret_iam_member" "receiver" {
  secret_id = google_secret_manager_secret.signature.id
  role      = "roles/secretmanager.secretAccessor"
  member    = local.receiver
}

resource "google_pubsub_topic_iam_member" "receiver" {
  count  = local.in_topic ? 1 : 0
  topic  = google_pubsub_topic.events[0].id
  role   = "roles/pubsub.publisher"
  member = local.receiver
}

# An event is created, and never read or changed; a key is looked up, and then created. The narrowest role of Google's
# that creates may delete too: https://cloud.google.com/firestore/docs/security/iam
resource "google_project_iam_custom_role" "receiver" {
  count   = local.has_firestore ? 1 : 0
  role_id = "${replace(var.name, "-", "_")}_${random_id.role.hex}"
  title   = "${var.name}: write documents"
  permissions = concat(
    ["datastore.entities.create"],
    local.in_firestore ? [] : ["datastore.entities.get"],
  )

  depends_on = [time_sleep.apis]

  # One that was made under another id keeps it.
  lifecycle {
    ignore_changes = [role_id]
  }
}

# The id of a deleted role is taken for 37 days, and can be restored for the first 7 of them only:
# https://cloud.google.com/iam/docs/creating-custom-roles#deleting-custom-role
resource "random_id" "role" {
  byte_length = 4
}

resource "google_project_iam_member" "firestore" {
  count   = local.has_firestore ? 1 : 0
  project = var.project
  role    = google_project_iam_custom_role.receiver[0].id
  member  = local.receiver

  condition {
    title      = "${var.name}: this database only"
    expression = "resource.name == \"${google_firestore_database.events[0].id}\""
  }
}

# A permission that was just granted is not known everywhere at once, and a build that comes too early fails.
resource "time_sleep" "permissions" {
  create_duration = "60s"

  depends_on = [
    google_bigquery_table_iam_member.pubsub,
    google_project_iam_member.build,
    google_project_iam_member.firestore,
    google_pubsub_topic_iam_member.receiver,
    google_secret_manager_secret_iam_member.receiver,
  ]
}

# ---- the secret ------------------------------------------------------------------------------------------------------

# A version is the plain secret, or a JSON array, ["new","old"], which `make rotate-secret-gcp` adds, and then sets secret_version.
# In one region, because an organization policy may forbid others.
resource "google_secret_manager_secret" "signature" {
  secret_id = "${var.name}-signature"

  replication {
    user_managed {
      replicas {
        location = var.region
      }
    }
  }

  depends_on = [time_sleep.apis]
}

ephemeral "random_password" "signature" {
  length  = 64
  special = false
}

# Write-only: Google has the secret, and the state and the plan do not. Once secret_version is set, Terraform forgets
# this version and leaves it as it is.
resource "google_secret_manager_secret_version" "signature" {
  count                  = var.secret_version == null ? 1 : 0
  secret                 = google_secret_manager_secret.signature.id
  secret_data_wo         = ephemeral.random_password.signature.result
  secret_data_wo_version = 1
  deletion_policy        = "ABANDON"
}

# ---- stores ----------------------------------------------------------------------------------------------------------
# Acknowledged events are stored nowhere else, so Terraform refuses anything that would destroy these topics, subscriptions, tables
# and databases: `destroy`, another store, no BigQuery. To go on, and leave them where they are, let Terraform forget
# them first:
#   terraform state list | grep -E '^google_(bigquery_(dataset|table[.]messages)|firestore_database|pubsub_(topic|subscription)[.])' | xargs terraform state rm

# No schema: a body that a schema rejects would be refused for 12 hours, and then be lost.
resource "google_pubsub_topic" "events" {
  count                      = local.in_topic ? 1 : 0
  name                       = "${var.name}-events"
  message_retention_duration = local.retention

  message_storage_policy {
    allowed_persistence_regions = [var.region]
  }

  depends_on = [time_sleep.apis]

  lifecycle {
    prevent_destroy = true
  }
}

# Exactly-once delivery guarantees that an acknowledged message is not delivered again, and increases latency. It does
# not detect an event that was published twice, so a consumer must check the key anyway, and that is enough.
resource "google_pubsub_subscription" "events" {
  count                        = local.in_topic && var.subscription ? 1 : 0
  name                         = "${var.name}-events"
  topic                        = google_pubsub_topic.events[0].id
  ack_deadline_seconds         = 60
  message_retention_duration   = local.retention
  enable_message_ordering      = local.is_ordered
  enable_exactly_once_delivery = false

  expiration_policy {
    ttl = "" # never
  }
  dead_letter_policy {
    dead_letter_topic     = google_pubsub_topic.dead_letters[0].id
    max_delivery_attempts = 10
  }
  retry_policy {
    minimum_backoff = "10s"
    maximum_backoff = "600s"
  }

  lifecycle {
    prevent_destroy = true
  }
}

resource "google_pubsub_topic" "dead_letters" {
  count                      = local.in_topic ? 1 : 0
  name                       = "${var.name}-dead-letters"
  message_retention_duration = local.longest_pubsub

  message_storage_policy {
    allowed_persistence_regions = [var.region]
  }

  depends_on = [time_sleep.apis]

  lifecycle {
    prevent_destroy = true
  }
}

# A topic without a subscription loses its messages.
resource "google_pubsub_subscription" "dead_letters" {
  count                      = local.in_topic ? 1 : 0
  name                       = "${var.name}-dead-letters"
  topic                      = google_pubsub_topic.dead_letters[0].id
  message_retention_duration = local.longest_pubsub

  expiration_policy {
    ttl = "" # never
  }

  lifecycle {
    prevent_destroy = true
  }
}

# Google makes Pub/Sub's own account when a project first needs it, and refuses a permission for it before. If it is there,
# this does nothing: https://cloud.google.com/iam/docs/create-service-agents
resource "google_project_service_identity" "pubsub" {
  count    = local.in_topic ? 1 : 0
  provider = google-beta
  service  = "pubsub.googleapis.com"

  depends_on = [time_sleep.apis]
}

# It is not known everywhere at once.
resource "time_sleep" "pubsub_agent" {
  create_duration = "30s"

  depends_on = [google_project_service_identity.pubsub]
}

# Pub/Sub itself moves dead letters: it takes them out of the subscription and publishes them.
resource "google_pubsub_topic_iam_member" "dead_letters" {
  count  = local.in_topic ? 1 : 0
  topic  = google_pubsub_topic.dead_letters[0].id
  role   = "roles/pubsub.publisher"
  member = local.pubsub_agent

  depends_on = [time_sleep.pubsub_agent]
}

resource "google_pubsub_subscription_iam_member" "events" {
  count        = local.in_topic && var.subscription ? 1 : 0
  subscription = google_pubsub_subscription.events[0].id
  role         = "roles/pubsub.subscriber"
  member       = local.pubsub_agent

  depends_on = [time_sleep.pubsub_agent]
}
