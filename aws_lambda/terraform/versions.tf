terraform {
  # 1.11: the secret is given to AWS without being kept in the state.
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.100, < 7"
    }
  }
}

provider "aws" {
  default_tags {
    tags = var.tags
  }
}
