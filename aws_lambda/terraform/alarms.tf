resource "aws_sns_topic" "alarms" {
  count = var.alarm_email == "" ? 0 : 1
  name  = "${var.name}-alarms"
}

resource "aws_sns_topic_subscription" "alarms" {
  count     = var.alarm_email == "" ? 0 : 1
  topic_arn = aws_sns_topic.alarms[0].arn
  protocol  = "email"
  endpoint  = var.alarm_email
}

resource "aws_budgets_budget" "account" {
  count        = var.budget_amount > 0 ? 1 : 0
  name         = var.name
  budget_type  = "COST"
  time_unit    = "MONTHLY"
  limit_amount = tostring(var.budget_amount)
  limit_unit   = "USD"

  dynamic "notification" {
    for_each = [50, 100]

    content {
      notification_type          = "ACTUAL"
      comparison_operator        = "GREATER_THAN"
      threshold                  = notification.value
      threshold_type             = "PERCENTAGE"
      subscriber_email_addresses = [var.alarm_email]
    }
  }
}

locals {
  alarm_actions = aws_sns_topic.alarms[*].arn
  of_function   = { FunctionName = aws_lambda_function.receiver.function_name }

  # More than zero within five minutes; missing data is no alarm.
  alarms = merge(
    {
      failed = {
        description = "An event could not be stored. DT sends it again, for up to 12 hours. The log has the cause."
        namespace   = "DataConnector"
        metric      = "Failed"
        dimensions  = local.of_function
        statistic   = "Sum"
        threshold   = 0
      }
      errors = {
        description = "The function ended without an answer: an exception, no memory, or no time left."
        namespace   = "AWS/Lambda"
        metric      = "Errors"
        dimensions  = local.of_function
        statistic   = "Sum"
        threshold   = 0
      }
      throttles = {
        description = "Requests were turned away, because as many as are allowed were running. See reserved_concurrency."
        namespace   = "AWS/Lambda"
        metric      = "Throttles"
        dimensions  = local.of_function
        statistic   = "Sum"
        threshold   = 0
      }
      url-5xx = {
        description = "The URL answered with a 5xx status. DT sends those events again, for up to 12 hours."
        namespace   = "AWS/Lambda"
        metric      = "Url5xxCount"
        dimensions  = local.of_function
        statistic   = "Sum"
        threshold   = 0
      }
    },
    local.has_queue ? {
      queue-age = {
        description = "An event has been in the queue for a day. After 14 days SQS deletes it."
        namespace   = "AWS/SQS"
        metric      = "ApproximateAgeOfOldestMessage"
        dimensions  = { QueueName = aws_sqs_queue.events[0].name }
        statistic   = "Maximum"
        threshold   = 86400
      }
      dead-letters = {
        description = "A consumer received an event ten times and did not delete it. It is in the dead-letter queue."
        namespace   = "AWS/SQS"
        metric      = "ApproximateNumberOfMessagesVisible"
        dimensions  = { QueueName = aws_sqs_queue.dead_letters[0].name }
        statistic   = "Maximum"
        threshold   = 0
      }
    } : {},
    local.has_pipe ? {
      pipe-dead-letters = {
        description = "The pipe gave up on events, which are in the table but not in the queue."
        namespace   = "AWS/SQS"
        metric      = "ApproximateNumberOfMessagesVisible"
        dimensions  = { QueueName = aws_sqs_queue.pipe_dead_letters[0].name }
        statistic   = "Maximum"
        threshold   = 0
      }
    } : {},
  )

  pipe_metrics = ["ExecutionFailed", "ExecutionPartiallyFailed", "ExecutionThrottled", "ExecutionTimeout"]
}

resource "aws_cloudwatch_metric_alarm" "silence" {
  alarm_name          = "${var.name}-silence"
  alarm_description   = "No event was stored for ${var.silence_minutes} minutes. Look at the Data Connector in DT Studio, and for \"Refused\" in the log. After 5 days without success DT switches a Data Connector off."
  namespace           = "DataConnector"
  metric_name         = "Stored"
  dimensions          = local.of_function
  statistic           = "Sum"
  period              = 60
  evaluation_periods  = var.silence_minutes
  threshold           = 1
  comparison_operator = "LessThanThreshold"
  treat_missing_data  = "breaching"
  alarm_actions       = local.alarm_actions
}

resource "aws_cloudwatch_metric_alarm" "more_than" {
  for_each            = local.alarms
  alarm_name          = "${var.name}-${each.key}"
  alarm_description   = each.value.description
  namespace           = each.value.namespace
  metric_name         = each.value.metric
  dimensions          = each.value.dimensions
  statistic           = each.value.statistic
  period              = 300
  evaluation_periods  = 1
  threshold           = each.value.threshold
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.alarm_actions
}

# A pipe has no metric for the age of what it has not copied yet:
# https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-pipes-monitoring.html
resource "aws_cloudwatch_metric_alarm" "pipe" {
  count               = local.has_pipe ? 1 : 0
  alarm_name          = "${var.name}-pipe"
  alarm_description   = "The pipe could not copy events into the queue. It tries again for 12 hours."
  evaluation_periods  = 1
  threshold           = 0
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.alarm_actions

  metric_query {
    id          = "problems"
    label       = "Problems"
    expression  = "SUM(METRICS())"
    return_data = true
  }
  dynamic "metric_query" {
    for_each = local.pipe_metrics
    content {
      id          = lower(metric_query.value)
      return_data = false
      metric {
        namespace   = "AWS/EventBridge/Pipes"
        metric_name = metric_query.value
        dimensions  = { PipeName = aws_pipes_pipe.events[0].name }
        period      = 300
        stat        = "Sum"
      }
    }
  }
}

resource "aws_cloudwatch_dashboard" "receiver" {
  dashboard_name = var.name

  dashboard_body = jsonencode({
    widgets = [for place, widget in local.widgets : {
      type   = "metric"
      width  = 12
      height = 6
      x      = 12 * (place % 2)
      y      = 6 * floor(place / 2)
      properties = {
        title   = widget.title
        region  = local.region
        period  = 300
        stat    = widget.stat
        metrics = widget.metrics
      }
    }]
  })
}

locals {
  table_name = local.in_table ? aws_dynamodb_table.events[0].name : aws_dynamodb_table.seen_keys[0].name

  widgets = concat(
    [
      {
        title = "Events"
        stat  = "Sum"
        metrics = [
          for name in ["Stored", "Duplicate", "Dropped", "Refused", "Failed"] :
          ["DataConnector", name, "FunctionName", aws_lambda_function.receiver.function_name]
        ]
      },
      {
        title = "Time to answer"
        stat  = "p50"
        metrics = [
          for stat in ["p50", "p99"] :
          ["AWS/Lambda", "UrlRequestLatency", "FunctionName", aws_lambda_function.receiver.function_name, { stat = stat }]
        ]
      },
      {
        title = "Failed requests"
        stat  = "Sum"
        metrics = [
          for name in ["Url5xxCount", "Errors", "Throttles"] :
          ["AWS/Lambda", name, "FunctionName", aws_lambda_function.receiver.function_name]
        ]
      },
      {
        title = "Table"
        stat  = "Sum"
        metrics = [
          ["AWS/DynamoDB", "ConsumedWriteCapacityUnits", "TableName", local.table_name],
          ["AWS/DynamoDB", "ThrottledRequests", "TableName", local.table_name, "Operation", "PutItem"],
        ]
      },
    ],
    [for queue in aws_sqs_queue.events : {
      title = "Queue"
      stat  = "Maximum"
      metrics = [
        ["AWS/SQS", "ApproximateNumberOfMessagesVisible", "QueueName", queue.name, { label = "waiting" }],
        [
          "AWS/SQS", "ApproximateAgeOfOldestMessage", "QueueName", queue.name,
          { label = "age of the oldest (s)", yAxis = "right" },
        ],
      ]
    }],
    local.has_queue ? [{
      title = "Dead letters"
      stat  = "Maximum"
      metrics = [
        for queue in concat(aws_sqs_queue.dead_letters, aws_sqs_queue.pipe_dead_letters) :
        ["AWS/SQS", "ApproximateNumberOfMessagesVisible", "QueueName", queue.name]
      ]
    }] : [],
  )
}
