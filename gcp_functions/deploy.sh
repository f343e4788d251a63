#!/bin/sh
# Deploys dist/gcp_functions.zip by Terraform, which shows the plan and asks once. The first time it writes
# terraform/terraform.tfvars, with gcloud's project; what is there stays.
#
#   sh gcp_functions/deploy.sh [OPTION OF terraform apply]...
set -eu
cd "$(dirname "$0")/terraform"

faults=''
fault() {
    echo "$1" >&2
    faults=yes
}

# All at once.
command -v terraform >/dev/null || fault "No terraform: install it, https://developer.hashicorp.com/terraform/install"
project=${TF_VAR_project:-}
if ! command -v gcloud >/dev/null; then
    fault "No gcloud: install the gcloud CLI, https://cloud.google.com/sdk/docs/install"
elif ! gcloud auth print-access-token >/dev/null 2>&1; then
    fault "gcloud is not logged in: gcloud auth login"
else
    gcloud auth application-default print-access-token >/dev/null 2>&1 ||
        fault "Terraform is not logged in: gcloud auth application-default login"
    if [ -z "$project" ] && [ ! -e terraform.tfvars ]; then
        project=$(gcloud config get project 2>/dev/null) || project=''
        [ -n "$project" ] || fault "gcloud has no project. \`gcloud projects list\` lists yours: gcloud config set project ID"
    fi
fi
[ -z "$faults" ] || exit 1

# Terraform looks at the project by this API, which a new project does not have, before it can enable any.
if [ ! -e .terraform ]; then
    [ -n "$project" ] || project=$(sed -n 's/^ *project *= *"\(.*\)".*/\1/p' terraform.tfvars)
    [ -z "$project" ] || gcloud services enable cloudresourcemanager.googleapis.com --project="$project"
fi
[ -e terraform.tfvars ] || [ -n "${TF_VAR_project:-}" ] || echo "project = \"$project\"" >terraform.tfvars

terraform init -input=false
exec terraform apply "$@"
