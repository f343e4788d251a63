terraform {
  required_version = ">= 1.9"

  required_providers {
    ibm = {
      source  = "IBM-Cloud/ibm"
      version = ">= 1.88, < 3"
    }
  }
}

# It logs in with IC_API_KEY, an API key of yours, which nothing that is made here gets.
provider "ibm" {
  region = var.region
}
