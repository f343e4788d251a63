terraform {
  # 1.11: the secret is given to Google without being kept in the state.
  required_version = ">= 1.11"

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = ">= 6.23, < 9"
    }
    random = {
      source  = "hashicorp/random"
      version = ">= 3.7.1, < 4"
    }
    time = {
      source  = "hashicorp/time"
      version = ">= 0.9, < 1"
    }
  }
}

provider "google" {
  project = var.project
  region  = var.region
}
