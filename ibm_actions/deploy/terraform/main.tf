# The receiver on IBM Cloud: an application or a function of Code Engine, a Cloudant instance where it puts events, and
# a trusted profile that lets the one into the other without a key. What watches it is in alerts.tf.

locals {
  is_application = var.form == "application"
  gives_secret   = nonsensitive(var.signature_secret != null)
  has_secret     = var.signature_policy != "es256" || local.gives_secret
  secret         = "${var.name}-signature"
  memory         = coalesce(var.memory, local.is_application ? "0.5G" : "1G")
  group          = one(data.ibm_resource_group.chosen[*].id)
  project_id     = var.project_id == null ? ibm_code_engine_project.receiver[0].project_id : data.ibm_code_engine_project.given[0].project_id
  project_crn    = var.project_id == null ? ibm_code_engine_project.receiver[0].crn : data.ibm_code_engine_project.given[0].crn
  cloudant_id    = var.cloudant == null ? ibm_cloudant.events[0].guid : data.ibm_cloudant.given[0].guid
  cloudant_host  = var.cloudant == null ? ibm_cloudant.events[0].extensions["endpoints.public"] : data.ibm_cloudant.given[0].extensions["endpoints.public"]
  cloudant_url   = "https://${local.cloudant_host}"

  # An empty value counts as not set.
  settings = { for key, value in {
    DT_CLOUDANT           = local.cloudant_url
    DT_TRUSTED_PROFILE    = ibm_iam_trusted_profile.receiver.id
    DT_DATABASE_PREFIX    = var.database_prefix
    DT_DATABASE_PERIOD    = var.database_period
    DT_ORGANIZATION_ID    = var.organization_id
    DT_SIGNATURE_POLICY   = var.signature_policy
    DT_ACCEPT_EXPIRED_FOR = tostring(var.accept_expired_for)
    DT_EVENT_TYPES        = var.event_types
    DT_PROJECT_ID         = var.project_ids
  } : key => value if value != "" }

  variables = concat(
    [for key, value in local.settings : { type = "literal", name = key, value = value, reference = null, key = null }],
    local.has_secret ? [{ type = "secret_key_reference", name = "DT_SIGNATURE_SECRET", value = null, reference = local.secret, key = "DT_SIGNATURE_SECRET" }] : [],
  )
}

data "ibm_resource_group" "chosen" {
  count = var.resource_group == null ? 0 : 1
  name  = var.resource_group
}

data "ibm_code_engine_project" "given" {
  count      = var.project_id == null ? 0 : 1
  project_id = var.project_id
}

resource "ibm_code_engine_project" "receiver" {
  count             = var.project_id == null ? 1 : 0
  name              = var.name
  resource_group_id = local.group
}

# An application has no tags of its own: IBM's costs are by project.
resource "ibm_resource_tag" "project" {
  count       = length(var.tags) > 0 && var.project_id == null ? 1 : 0
  resource_id = ibm_code_engine_project.receiver[0].crn
  tags        = var.tags
}

# ---- the application, or the function --------------------------------------------------------------------------------

resource "ibm_code_engine_app" "receiver" {
  count           = local.is_application ? 1 : 0
  project_id      = local.project_id
  name            = var.name
  image_reference = var.reference
  image_secret    = var.registry_secret
  image_port      = 8080

  managed_domain_mappings = "local_public"
  # That of ibm_actions/Dockerfile.
  run_as_user = 10001
  # What it shows to be let in as the trusted profile.
  run_compute_resource_token_enabled = true

  scale_cpu_limit     = var.cpu
  scale_memory_limit  = local.memory
  scale_min_instances = var.min_instances
  scale_max_instances = var.max_instances
  scale_concurrency   = var.concurrency
  # More instances from here on; by default that is 100, whatever an instance takes.
  scale_concurrency_target = var.concurrency
  # The receiver answers within 8 seconds, and DT waits for 10.
  scale_request_timeout = 9

  # That it still answers is asked once a minute, because each time makes a line in the log.
  probe_liveness {
    type              = "http"
    path              = "/healthz"
    interval          = 60
    timeout           = 5
    failure_threshold = 3
  }

  dynamic "run_env_variables" {
    for_each = local.variables
    content {
      type      = run_env_variables.value.type
      name      = run_env_variables.value.name
      value     = run_env_variables.value.value
      reference = run_env_variables.value.reference
      key       = run_env_variables.value.key
    }
  }

  # It must not start without its permissions and its secret.
  depends_on = [
    ibm_code_engine_secret.signature,
    ibm_iam_trusted_profile_link.receiver,
    ibm_iam_trusted_profile_policy.cloudant,
  ]
}

resource "ibm_code_engine_function" "receiver" {
  count          = local.is_application ? 0 : 1
  project_id     = local.project_id
  name           = var.name
  runtime        = "python-3.13"
  code_main      = "main"
  code_reference = var.reference
  code_secret    = var.registry_secret

  managed_domain_mappings            = "local_public"
  run_compute_resource_token_enabled = true

  scale_cpu_limit    = var.cpu
  scale_memory_limit = local.memory
  scale_concurrency  = 1 # more is for Node.js only
  # The longest there is: a function that is stopped at its limit is answered 299, which DT takes for a receipt.
  # https://cloud.ibm.com/docs/codeengine?topic=codeengine-fun-work
  scale_max_execution_time = 120
  # A minute: the events of a device that moves come close together.
  scale_down_delay = 60

  dynamic "run_env_variables" {
    for_each = local.variables
    content {
      type      = run_env_variables.value.type
      name      = run_env_variables.value.name
      value     = run_env_variables.value.value
      reference = run_env_variables.value.reference
      key       = run_env_variables.value.key
    }
  }

  depends_on = [
    ibm_code_engine_secret.signature,
    ibm_iam_trusted_profile_link.receiver,
    ibm_iam_trusted_profile_policy.cloudant,
  ]
}

# ---- identity --------------------------------------------------------------------------------------------------------

resource "ibm_iam_trusted_profile" "receiver" {
  name        = var.name
  description = "What the receiver of DT's events may do."
}

# This one application or function, by its name, and nothing else in the project.
resource "ibm_iam_trusted_profile_link" "receiver" {
  profile_id = ibm_iam_trusted_profile.receiver.id
  name       = "${var.form}-${var.name}"
  cr_type    = "CE"

  link {
    crn            = local.project_crn
    component_type = var.form
    component_name = var.name
  }
}

# Writer writes documents and reads them; only Manager makes a database, and one is made each year. Hence an instance
# of its own, and a policy for that instance alone:
# https://cloud.ibm.com/docs/Cloudant?topic=Cloudant-managing-access-for-cloudant#ibm-cloudant-roles-ai
resource "ibm_iam_trusted_profile_policy" "cloudant" {
  iam_id      = ibm_iam_trusted_profile.receiver.iam_id
  roles       = ["Manager"]
  description = "${var.name}: events, and a database for each ${var.database_period}"

  resources {
    service              = "cloudantnosqldb"
    resource_instance_id = local.cloudant_id
  }
}

# ---- the secret ------------------------------------------------------------------------------------------------------

# The provider knows no write-only argument for it, so what is given to Terraform is in its state.
resource "ibm_code_engine_secret" "signature" {
  count      = local.gives_secret ? 1 : 0
  project_id = local.project_id
  name       = local.secret
  format     = "generic"
  data       = { DT_SIGNATURE_SECRET = var.signature_secret }
}

# ---- stores ----------------------------------------------------------------------------------------------------------

# Acknowledged events are stored nowhere else, so Terraform refuses anything that would destroy it. To go on, and leave it where it
# is, let Terraform forget it first:
#   terraform state rm 'ibm_cloudant.events[0]'
resource "ibm_cloudant" "events" {
  count              = var.cloudant == null ? 1 : 0
  name               = var.name
  location           = var.region
  plan               = var.cloudant_plan
  resource_group_id  = local.group
  legacy_credentials = false # no passwords beside IAM's roles
  enable_cors        = false # no browser asks it
  tags               = length(var.tags) > 0 ? var.tags : null

  lifecycle {
    prevent_destroy = true
  }
}

data "ibm_cloudant" "given" {
  count             = var.cloudant == null ? 0 : 1
  name              = var.cloudant
  resource_group_id = local.group
}
