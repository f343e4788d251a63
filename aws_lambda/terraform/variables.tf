variable "name" {
  type        = string
  default     = "dt-receiver"
  description = "The prefix of the names of all resources. Two receivers in one account need two names."

  validation {
    condition     = can(regex("^[A-Za-z][A-Za-z0-9-]{0,31}$", var.name))
    error_message = "A letter, then up to 31 letters, digits and hyphens."
  }
}

variable "package" {
  type        = string
  default     = null
  description = "The zip that `make package-aws` writes. Default: its path, dist/aws_lambda.zip."
}

variable "tags" {
  type        = map(string)
  default     = {}
  description = "Tags of everything that can have some, such as { team = \"facilities\" }."
}

# ---- stores ----------------------------------------------------------------------------------------------------------

variable "store" {
  type        = string
  default     = "dynamodb"
  description = "Where an event is stored before it is acknowledged. dynamodb: a table, which keeps each event once. sqs: a queue, for your own consumers; an event can be in it twice, with the same key."

  validation {
    condition     = contains(["dynamodb", "sqs"], var.store)
    error_message = "dynamodb or sqs."
  }
}

variable "queue" {
  type        = bool
  default     = false
  description = "Store dynamodb only. true: each new event is also copied from the table into an SQS queue, by an EventBridge Pipe."

  validation {
    condition     = !var.queue || var.store == "dynamodb"
    error_message = "queue = true copies events out of the table. With store = \"sqs\" there is no table: set queue = false."
  }
}

variable "fifo" {
  type        = bool
  default     = false
  description = "Store sqs only. true: the queue is FIFO, ordered for each device by arrival. A message that a consumer cannot handle then holds up its device."

  validation {
    condition     = !var.fifo || var.store == "sqs"
    error_message = "fifo = true needs store = \"sqs\". An EventBridge Pipe copies into a standard queue."
  }
}

variable "max_message_size" {
  type        = number
  default     = 262144
  description = "The largest message that a queue takes, in bytes. SQS takes up to 1048576, as do newer versions of the provider; 5.100 refuses more than 262144."
}

variable "keep_days" {
  type        = number
  default     = 365
  description = "Days to keep an event in the table; with store sqs, days to remember that it was seen. 0: for ever."

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

variable "organization_id" {
  type        = string
  default     = ""
  description = "The id of your organization at DT, or several, joined by commas. Turns on DT's asymmetric signature, which needs a package built with --es256."
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
  description = "The id of the project to keep events of, or several, joined by commas. Others are acknowledged and dropped. Empty: all."
}

# ---- the function ----------------------------------------------------------------------------------------------------

variable "architecture" {
  type        = string
  default     = "arm64"
  description = "Processor of the function. A package built with --es256 runs only on its processor."

  validation {
    condition     = contains(["arm64", "x86_64"], var.architecture)
    error_message = "arm64 or x86_64."
  }
}

variable "memory_size" {
  type        = number
  default     = 256
  description = "Memory of the function in MB. More memory is also more CPU."
}

variable "reserved_concurrency" {
  type        = number
  default     = 0
  description = "Maximum concurrent requests, such as 20, which limits the cost of a flood. 0: no limit for the function. A new AWS account has a quota of 10 in total and cannot reserve any."

  validation {
    condition     = var.reserved_concurrency >= 0 && var.reserved_concurrency <= 1000
    error_message = "From 0 to 1000."
  }
}

# ---- monitoring ------------------------------------------------------------------------------------------------------

variable "alarm_email" {
  type        = string
  default     = ""
  description = "Where alarms are sent; AWS first sends a link to confirm it. Empty: alarms are on the dashboard only."
}

variable "silence_minutes" {
  type        = number
  default     = 60
  description = "Alarm when no event was stored for this many minutes, up to 1440. Before the first event it is in alarm."

  # An alarm with a period of a minute can look back one day, no longer:
  # https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html
  validation {
    condition     = var.silence_minutes >= 1 && var.silence_minutes <= 1440
    error_message = "From 1 to 1440."
  }
}

variable "log_retention_days" {
  type        = number
  default     = 30
  description = "Days to keep the function's log: one of the numbers that CloudWatch Logs offers. It has no event's content and no secret."
}

variable "budget_amount" {
  type        = number
  default     = 0
  description = "A budget for the whole account, in US$ for each month. alarm_email gets a mail at half of it, and at all of it. It stops nothing. 0: none."

  validation {
    condition     = var.budget_amount >= 0
    error_message = "At least 0."
  }
  validation {
    condition     = var.budget_amount == 0 || var.alarm_email != ""
    error_message = "budget_amount needs alarm_email, which gets the mails."
  }
}
