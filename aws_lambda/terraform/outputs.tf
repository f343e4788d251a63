output "url" {
  description = "The endpoint URL for the Data Connector."
  value       = aws_lambda_function_url.receiver.function_url
}

output "secret" {
  description = "Where the signature secret is. To read it: aws secretsmanager get-secret-value --secret-id \"$(terraform output -raw secret)\" --query SecretString --output text"
  value       = aws_secretsmanager_secret.signature.arn
}

output "table" {
  description = "The table of events; null with store sqs."
  value       = one(aws_dynamodb_table.events[*].name)
}

output "queue_url" {
  description = "The queue to receive events from, if there is one."
  value       = one(aws_sqs_queue.events[*].url)
}

output "source" {
  description = "What to give to dtconn events --from."
  value       = var.store == "dynamodb" ? "dynamodb:${aws_dynamodb_table.events[0].name}" : "sqs:${aws_sqs_queue.events[0].url}"
}

output "dashboard" {
  description = "The dashboard."
  value       = "https://${local.region}.console.aws.amazon.com/cloudwatch/home?region=${local.region}#dashboards/dashboard/${aws_cloudwatch_dashboard.receiver.dashboard_name}"
}
