# The same as ../template.yaml, which has the reasons; the comments here are about Terraform only.

data "aws_caller_identity" "current" {}

locals {
  in_table  = var.store == "dynamodb"
  in_queue  = var.store == "sqs"
  has_pipe  = local.in_table && var.queue
  has_queue = local.in_queue || local.has_pipe
  suffix    = var.fifo ? ".fifo" : ""
  region    = split(":", aws_cloudwatch_log_group.receiver.arn)[3]
  zip       = coalesce(var.package, "${path.module}/../../dist/aws_lambda.zip")
}

# ---- the function ----------------------------------------------------------------------------------------------------

resource "aws_lambda_function" "receiver" {
  function_name                  = var.name
  filename                       = local.zip
  source_code_hash               = filebase64sha256(local.zip)
  handler                        = "aws_lambda.handler.handler"
  runtime                        = "python3.13"
  architectures                  = [var.architecture]
  memory_size                    = var.memory_size
  timeout                        = 9
  role                           = aws_iam_role.receiver.arn
  reserved_concurrent_executions = var.reserved_concurrency == 0 ? -1 : var.reserved_concurrency

  environment {
    variables = merge(
      {
        DT_STORE               = var.store
        DT_SIGNATURE_SECRET_ID = aws_secretsmanager_secret.signature.arn
        DT_KEEP_DAYS           = var.keep_days
        DT_ORGANIZATION_ID     = var.organization_id
        DT_SIGNATURE_POLICY    = var.signature_policy
        DT_ACCEPT_EXPIRED_FOR  = var.accept_expired_for
        DT_EVENT_TYPES         = var.event_types
        DT_PROJECT_ID          = var.project_ids
      },
      local.in_table ? { DT_TABLE = aws_dynamodb_table.events[0].name } : {},
      local.in_queue ? {
        DT_QUEUE_URL  = aws_sqs_queue.events[0].url
        DT_SEEN_TABLE = aws_dynamodb_table.seen_keys[0].name
      } : {},
    )
  }

  logging_config {
    log_group             = aws_cloudwatch_log_group.receiver.name
    log_format            = "JSON"
    application_log_level = "INFO"
    system_log_level      = "WARN"
  }

  # It must not start without its permissions.
  depends_on = [aws_iam_role_policy.receiver]
}

resource "aws_lambda_function_url" "receiver" {
  function_name      = aws_lambda_function.receiver.function_name
  authorization_type = "NONE"
}

# A public URL needs two permissions: https://docs.aws.amazon.com/lambda/latest/dg/urls-auth.html
# aws_lambda_function_url also adds this one, under another name, but its documentation does not guarantee it.
resource "aws_lambda_permission" "url" {
  statement_id           = "PublicUrl"
  action                 = "lambda:InvokeFunctionUrl"
  function_name          = aws_lambda_function.receiver.function_name
  principal              = "*"
  function_url_auth_type = "NONE"
}

# The other one lets anybody invoke the function, if it is through the URL. That condition came to aws_lambda_permission
# with version 6.29 of the provider. Without it any AWS account could invoke the function, so CloudFormation makes it.
resource "aws_cloudformation_stack" "url_permission" {
  name = "${var.name}-url-permission"

  template_body = jsonencode({
    AWSTemplateFormatVersion = "2010-09-09"
    Description              = "Lets anybody invoke ${var.name} through its URL. Made by Terraform."
    Resources = {
      PublicInvoke = {
        Type = "AWS::Lambda::Permission"
        Properties = {
          FunctionName          = aws_lambda_function.receiver.arn
          Action                = "lambda:InvokeFunction"
          Principal             = "*"
          InvokedViaFunctionUrl = true
        }
      }
    }
  })
}

resource "aws_iam_role" "receiver" {
  name_prefix = "${var.name}-"

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "lambda.amazonaws.com" }
      Action    = "sts:AssumeRole"
    }]
  })
}

resource "aws_iam_role_policy" "receiver" {
  name = "receiver"
  role = aws_iam_role.receiver.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      [
        {
          Effect   = "Allow"
          Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
          Resource = "${aws_cloudwatch_log_group.receiver.arn}:*"
        },
        {
          Effect   = "Allow"
          Action   = ["secretsmanager:GetSecretValue"]
          Resource = aws_secretsmanager_secret.signature.arn
        },
      ],
      [for table in aws_dynamodb_table.events : {
        Effect   = "Allow"
        Action   = ["dynamodb:PutItem"]
        Resource = table.arn
      }],
      [for table in aws_dynamodb_table.seen_keys : {
        Effect   = "Allow"
        Action   = ["dynamodb:GetItem", "dynamodb:PutItem"]
        Resource = table.arn
      }],
      [for queue in local.in_queue ? aws_sqs_queue.events : [] : {
        Effect   = "Allow"
        Action   = ["sqs:SendMessage"]
        Resource = queue.arn
      }],
    )
  })
}

resource "aws_cloudwatch_log_group" "receiver" {
  name              = "/aws/lambda/${var.name}"
  retention_in_days = var.log_retention_days
}

# The plain string is the secret. `make rotate-secret-aws` puts a JSON array into it: ["new","old"].
resource "aws_secretsmanager_secret" "signature" {
  name_prefix = "${var.name}-signature-"
  description = "Signature secret of the Data Connectors that send to ${var.name}"
}

ephemeral "aws_secretsmanager_random_password" "signature" {
  password_length     = 64
  exclude_punctuation = true
}

# Write-only: AWS has the secret, and the state and the plan do not. It is written once, and again only when the version
# here goes up, so that a secret which you put there yourself stays.
resource "aws_secretsmanager_secret_version" "signature" {
  secret_id                = aws_secretsmanager_secret.signature.id
  secret_string_wo         = ephemeral.aws_secretsmanager_random_password.signature.random_password
  secret_string_wo_version = 1
}

# ---- stores ----------------------------------------------------------------------------------------------------------
# Acknowledged events are stored nowhere else, so Terraform refuses anything that would destroy these tables and queues: `destroy`,
# another store, another kind of queue. To continue and keep them, remove them from the state first:
#   terraform state list | grep -E '^aws_(dynamodb_table|sqs_queue[.](events|dead_letters))' | xargs terraform state rm

resource "aws_dynamodb_table" "events" {
  count                       = local.in_table ? 1 : 0
  name                        = "${var.name}-events"
  billing_mode                = "PAY_PER_REQUEST"
  hash_key                    = "device"
  range_key                   = "timestampKey"
  stream_enabled              = true
  stream_view_type            = "NEW_IMAGE"
  deletion_protection_enabled = true

  attribute {
    name = "device"
    type = "S"
  }
  attribute {
    name = "timestampKey"
    type = "S"
  }
  ttl {
    attribute_name = "expiresAt"
    enabled        = true
  }
  point_in_time_recovery {
    enabled = true
  }

  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_dynamodb_table" "seen_keys" {
  count                       = local.in_queue ? 1 : 0
  name                        = "${var.name}-seen-keys"
  billing_mode                = "PAY_PER_REQUEST"
  hash_key                    = "key"
  deletion_protection_enabled = true

  attribute {
    name = "key"
    type = "S"
  }
  ttl {
    attribute_name = "expiresAt"
    enabled        = true
  }
  point_in_time_recovery {
    enabled = true
  }

  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_sqs_queue" "events" {
  count                       = local.has_queue ? 1 : 0
  name                        = "${var.name}-events${local.suffix}"
  fifo_queue                  = var.fifo
  content_based_deduplication = var.fifo ? false : null
  deduplication_scope         = var.fifo ? "messageGroup" : null
  fifo_throughput_limit       = var.fifo ? "perMessageGroupId" : null
  max_message_size            = var.max_message_size
  message_retention_seconds   = 1209600
  sqs_managed_sse_enabled     = true

  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.dead_letters[0].arn
    maxReceiveCount     = 10
  })

  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_sqs_queue" "dead_letters" {
  count                     = local.has_queue ? 1 : 0
  name                      = "${var.name}-dead-letters${local.suffix}"
  fifo_queue                = var.fifo
  max_message_size          = var.max_message_size
  message_retention_seconds = 1209600
  sqs_managed_sse_enabled   = true

  lifecycle {
    prevent_destroy = true
  }
}

# ---- from the table into the queue -----------------------------------------------------------------------------------

resource "aws_pipes_pipe" "events" {
  count       = local.has_pipe ? 1 : 0
  name        = "${var.name}-events"
  description = "Copies each new event from the table into the queue"
  role_arn    = aws_iam_role.pipe[0].arn
  source      = aws_dynamodb_table.events[0].stream_arn
  target      = aws_sqs_queue.events[0].arn

  source_parameters {
    filter_criteria {
      filter {
        pattern = jsonencode({ eventName = ["INSERT"] })
      }
    }
    dynamodb_stream_parameters {
      starting_position             = "TRIM_HORIZON"
      batch_size                    = 10
      maximum_record_age_in_seconds = 43200
      maximum_retry_attempts        = 100
      on_partial_batch_item_failure = "AUTOMATIC_BISECT"
      dead_letter_config {
        arn = aws_sqs_queue.pipe_dead_letters[0].arn
      }
    }
  }

  target_parameters {
    input_template = <<-EOT
      {
        "key": <$.dynamodb.NewImage.key.S>,
        "eventId": <$.dynamodb.NewImage.eventId.S>,
        "eventType": <$.dynamodb.NewImage.eventType.S>,
        "deviceId": <$.dynamodb.NewImage.deviceId.S>,
        "projectId": <$.dynamodb.NewImage.projectId.S>,
        "timestamp": <$.dynamodb.NewImage.timestamp.S>,
        "receivedAt": <$.dynamodb.NewImage.receivedAt.S>,
        "signedBy": <$.dynamodb.NewImage.signedBy.S>,
        "bodyBase64": <$.dynamodb.NewImage.body.B>
      }
    EOT
  }

  depends_on = [aws_iam_role_policy.pipe]
}

resource "aws_iam_role" "pipe" {
  count       = local.has_pipe ? 1 : 0
  name_prefix = "${var.name}-pipe-"

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "pipes.amazonaws.com" }
      Action    = "sts:AssumeRole"
      Condition = { StringEquals = { "aws:SourceAccount" = data.aws_caller_identity.current.account_id } }
    }]
  })
}

resource "aws_iam_role_policy" "pipe" {
  count = local.has_pipe ? 1 : 0
  name  = "pipe"
  role  = aws_iam_role.pipe[0].id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Effect = "Allow"
        Action = [
          "dynamodb:DescribeStream",
          "dynamodb:GetRecords",
          "dynamodb:GetShardIterator",
          "dynamodb:ListStreams",
        ]
        Resource = aws_dynamodb_table.events[0].stream_arn
      },
      {
        Effect   = "Allow"
        Action   = ["sqs:SendMessage"]
        Resource = [aws_sqs_queue.events[0].arn, aws_sqs_queue.pipe_dead_letters[0].arn]
      },
    ]
  })
}

resource "aws_sqs_queue" "pipe_dead_letters" {
  count                     = local.has_pipe ? 1 : 0
  name                      = "${var.name}-pipe-dead-letters"
  message_retention_seconds = 1209600
  sqs_managed_sse_enabled   = true
}
