terraform {
  # 1.11: the secret is given to Google without being kept in the state.
  required_version = ">= 1.11"

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = ">= 6.23, < 9"
    }
    # For one resource, which the other does not have.
    google-beta = {
      source  = "hashicorp/google-beta"
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
  project        = var.project
  region         = var.region
  default_labels = var.labels
}

provider "google-beta" {
  project = var.project
}

# The budget's API refuses a person's login unless a project is named for its quota.
provider "google" {
  alias                 = "budget"
  project               = var.project
  billing_project       = var.project
  user_project_override = true
}
