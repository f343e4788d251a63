#!/bin/sh
# Lets one workflow of GitHub deploy to gcloud's project, without a key: docs/deploying.md. It makes what is missing, so it
# can run again, also for another repository.
#
#   sh gcp_functions/github.sh repo:me/my-fork:environment:gcp
set -eu
subject=${1:?the subject, such as repo:me/my-fork:environment:gcp}
project=$(gcloud config get project 2>/dev/null) || project=''
[ -n "$project" ] || {
    echo "gcloud has no project, or is not there. Install it, or: gcloud config set project ID" >&2
    exit 1
}
account=dt-receiver-deploy@$project.iam.gserviceaccount.com
in_pool="--location=global --workload-identity-pool=github"

is_there() {
    gcloud "$@" >/dev/null 2>&1
}

gcloud services enable iamcredentials.googleapis.com sts.googleapis.com
is_there iam workload-identity-pools describe github --location=global ||
    gcloud iam workload-identity-pools create github --location=global
# The words of $in_pool are options.
# shellcheck disable=SC2086
if is_there iam workload-identity-pools providers describe dt-receiver $in_pool; then do=update-oidc; else do=create-oidc; fi
# shellcheck disable=SC2086
gcloud iam workload-identity-pools providers "$do" dt-receiver $in_pool \
    --issuer-uri=https://token.actions.githubusercontent.com --attribute-mapping=google.subject=assertion.sub \
    --attribute-condition="assertion.sub == '$subject'"
is_there iam service-accounts describe "$account" || {
    gcloud iam service-accounts create dt-receiver-deploy
    sleep 20 # it is not known everywhere at once
}
pool=$(gcloud iam workload-identity-pools describe github --location=global --format='value(name)')
gcloud iam service-accounts add-iam-policy-binding "$account" --role=roles/iam.workloadIdentityUser \
    --member="principal://iam.googleapis.com/$pool/subject/$subject" --format=none
gcloud projects add-iam-policy-binding "$project" --member="serviceAccount:$account" --role=roles/owner \
    --condition=None --format=none
