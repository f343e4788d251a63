"""DT events on AWS: a Lambda function in front of DynamoDB or SQS."""
