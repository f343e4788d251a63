variable "region" {
  type        = string
  description = "The region of everything, such as eu-de: the project, Cloudant, and the Cloud Logs instance, if any."
}

variable "name" {
  type        = string
  default     = "dt-receiver"
  description = "The name of all created resources. Two receivers in one account need two names."

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,48}[a-z0-9]$", var.name))
    error_message = "From 2 to 50 lower-case letters, digits and hyphens, the first a letter, the last no hyphen."
  }
}

variable "resource_group" {
  type        = string
  default     = null
  description = "The name of the resource group for the project and Cloudant. Default: the account's default one."
}

variable "tags" {
  type        = list(string)
  default     = []
  description = "Tags of the project and the Cloudant instance that are made, such as [\"team:facilities\"]."
}

# ---- program ---------------------------------------------------------------------------------------------------------

variable "form" {
  type        = string
  default     = "application"
  description = "application: a container. function: a function of Code Engine, for which the platform may answer before it has finished."

  validation {
    condition     = contains(["application", "function"], var.form)
    error_message = "application or function."
  }
}

variable "reference" {
  type        = string
  description = "The image, or for a function the code bundle. Terraform builds neither: `make package-ibm`, then `sh ibm_actions/deploy/code_engine.sh --build-only` (and --form function) builds it, and writes this, registry_secret and project_id into build.auto.tfvars. Or an image of dist/ibm_actions/ in your own registry."

  validation {
    condition     = var.reference != "" && (var.es256 || var.organization_id == "")
    error_message = "Without es256 it lacks what organization_id needs: build it again with --build-only --es256."
  }
}

variable "registry_secret" {
  type        = string
  default     = null
  description = "The project's secret for pulling the reference. Default: none, for a public image."
}

variable "es256" {
  type        = bool
  default     = true
  description = "Whether the reference has what organization_id needs: --build-only prints it. With --es256 it is true."
}

variable "project_id" {
  type        = string
  default     = null
  description = "The id of the Code Engine project, if it exists already, such as that of the build. Default: a new one."
}

variable "cpu" {
  type        = string
  default     = "0.25"
  description = "Virtual CPUs of an instance. Allowed combinations with memory: https://cloud.ibm.com/docs/codeengine?topic=codeengine-mem-cpu-combo"
}

variable "memory" {
  type        = string
  default     = null
  description = "Memory of an instance. Default: 0.5G, for a function 1G."
}

variable "min_instances" {
  type        = number
  default     = 0
  description = "Application only: instances that always run. 1 avoids a cold start for the first event after a pause, and is charged all day."
}

variable "max_instances" {
  type        = number
  default     = 10
  description = "Application only: maximum number of instances, which limits the cost of a flood."

  # 0 would be no limit.
  validation {
    condition     = var.max_instances >= 1 && var.max_instances >= var.min_instances
    error_message = "At least 1, and at least min_instances."
  }
}

variable "concurrency" {
  type        = number
  default     = 32
  description = "Application only: concurrent requests per instance. Each uses a separate connection to Cloudant, up to 32."

  validation {
    condition     = var.concurrency >= 1 && var.concurrency <= 1000
    error_message = "From 1 to 1000."
  }
}

# ---- stores ----------------------------------------------------------------------------------------------------------

variable "cloudant" {
  type        = string
  default     = null
  description = "The name of an existing Cloudant instance. The receiver has all permissions in it. Default: a new one."
}

variable "cloudant_plan" {
  type        = string
  default     = "standard"
  description = "The plan of the new Cloudant instance. lite is free and small, and limited to one per account."

  validation {
    condition     = contains(["standard", "lite"], var.cloudant_plan)
    error_message = "standard or lite."
  }
}

variable "database_prefix" {
  type        = string
  default     = "events"
  description = "The prefix of the databases' names: with events, the one of 2026 is events-2026."

  validation {
    condition     = can(regex("^[a-z][a-z0-9_-]{0,99}$", var.database_prefix))
    error_message = "Lower-case letters, digits, _ and -, the first a letter."
  }
}

variable "database_period" {
  type        = string
  default     = "year"
  description = "The period of a new database: year, quarter or month. Old events are deleted by database, and an instance has at most 20, or 200 with the plan standard."

  validation {
    condition     = contains(["year", "quarter", "month"], var.database_period)
    error_message = "year, quarter or month."
  }
}

# ---- authentication --------------------------------------------------------------------------------------------------

variable "signature_secret" {
  type        = string
  default     = null
  sensitive   = true
  description = "The signature secret of the Data Connector. It would be in Terraform's state: better leave it out, set project_id, and write it with `sh ibm_actions/deploy/code_engine.sh --project PROJECT --name NAME --secret-only`."

  validation {
    condition     = var.signature_secret != null || var.project_id != null || var.signature_policy == "es256"
    error_message = "A new project has no secret yet. Set project_id of a project that has it, or signature_secret."
  }
}

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

variable "organization_id" {
  type        = string
  default     = ""
  description = "The id of your organization at DT, or several, joined by commas. Turns on DT's asymmetric signature, which needs a build with --es256."
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

# ---- monitoring ------------------------------------------------------------------------------------------------------

variable "logs_instance" {
  type        = string
  default     = ""
  description = "The GUID of the Cloud Logs instance that gets the platform logs of the region. Empty: no alerts."

  validation {
    condition     = can(regex("^([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})?$", var.logs_instance))
    error_message = "A GUID, which `ibmcloud resource service-instance NAME --output json` shows."
  }
}

variable "event_notifications_instance" {
  type        = string
  default     = ""
  description = "The GUID of the Event Notifications instance of the region that sends alerts on, as an e-mail or otherwise. Cloud Logs has to be allowed to write to it. Empty: alerts are shown in Cloud Logs only."

  validation {
    condition     = var.event_notifications_instance == "" || var.logs_instance != ""
    error_message = "Alerts come from Cloud Logs: give logs_instance too."
  }
}

variable "refused_per_hour" {
  type        = number
  default     = 100
  description = "Alert when more requests than that were refused within an hour. A few always are, on a public address."

  validation {
    condition     = var.refused_per_hour >= 1
    error_message = "At least 1."
  }
}
