#!/bin/sh
# Deploys dist/gcp_functions/ by gcloud alone, for those who have no Terraform: the function, its secret, a topic with a
# subscription, and seen keys. It makes what is missing, and keeps what is there, so it can run again.
#
#   REGION=europe-west1 sh gcp_functions/gcloud.sh      # the region counts the first time only
set -eu
cd "$(dirname "$0")/.."

name=dt-receiver
secret=$name-signature
events=$name-events
database=dt-events

faults=''
fault() {
    echo "$1" >&2
    faults=yes
}
stop() {
    echo "$1" >&2
    exit 1
}
# All at once.
command -v openssl >/dev/null || fault "No openssl, which makes the signature secret: install it."
[ -e dist/gcp_functions/main.py ] || fault "dist/gcp_functions/ is not there. First: make package-gcp"
if ! command -v gcloud >/dev/null; then
    fault "No gcloud: install the gcloud CLI, https://cloud.google.com/sdk/docs/install"
elif ! gcloud auth print-access-token >/dev/null 2>&1; then
    fault "gcloud is not logged in: gcloud auth login"
else
    project=$(gcloud config get project 2>/dev/null) || project=''
    [ -n "$project" ] || fault "gcloud has no project. \`gcloud projects list\` lists yours: gcloud config set project ID"
fi
[ -z "$faults" ] || exit 1

# `is_there NOUN... describe ...`: whatever fails otherwise fails when it is made, too, and says why. Google refuses to
# make what is there.
is_there() {
    gcloud "$@" >/dev/null 2>&1
}

gcloud services enable artifactregistry.googleapis.com cloudbuild.googleapis.com cloudfunctions.googleapis.com \
    cloudresourcemanager.googleapis.com firestore.googleapis.com iam.googleapis.com logging.googleapis.com \
    pubsub.googleapis.com run.googleapis.com secretmanager.googleapis.com storage.googleapis.com

# ---- accounts --------------------------------------------------------------------------------------------------------

wait=0
for account in "$name" "$name-build"; do
    is_there iam service-accounts describe "$account@$project.iam.gserviceaccount.com" || {
        gcloud iam service-accounts create "$account"
        wait=60
    }
done
# Neither an account nor a permission is known everywhere at once.
sleep "$wait"
receiver=$name@$project.iam.gserviceaccount.com
build=$name-build@$project.iam.gserviceaccount.com
for role in artifactregistry.writer logging.logWriter storage.objectViewer; do
    gcloud projects add-iam-policy-binding "$project" --member="serviceAccount:$build" --role="roles/$role" \
        --condition=None --format=none
done

# ---- the region ------------------------------------------------------------------------------------------------------

# That of the function; if a run ended before it made one, that of the secret.
deployed=$(gcloud functions list --filter="name~/functions/$name\$" --format='value(name.segment(3))')
there=$deployed
if [ -z "$there" ] && is_there secrets describe "$secret"; then
    there=$(gcloud secrets describe "$secret" --format='value(replication.userManaged.replicas[0].location)')
fi
region=${REGION:-${there:-europe-west1}}
if [ -n "$there" ] && ! echo "$there" | grep -qxF -- "${REGION:-$there}"; then
    stop "$name is in $there, and REGION is $REGION. Run \`unset REGION\`, or remove it there first: gcp_functions/README.md"
fi
[ "$(echo "$region" | wc -l)" -eq 1 ] || stop "$name is in several regions. Name one, such as REGION=${region%%[!a-z0-9-]*}"

# ---- the secret ------------------------------------------------------------------------------------------------------

is_there secrets describe "$secret" ||
    gcloud secrets create "$secret" --replication-policy=user-managed --locations="$region"
newest() {
    gcloud secrets versions list "$secret" --limit=1 --format='value(name.basename())' "$@"
}
version=$(newest --filter=state=ENABLED)
if [ -z "$version" ]; then
    # Another secret than the Data Connector has would refuse its events.
    disabled=$(newest --filter=state=DISABLED)
    [ -z "$disabled" ] ||
        stop "No version of $secret is enabled. Enable one, and run this again: gcloud secrets versions enable $disabled --secret=$secret"
    destroyed=$(newest)
    [ -z "$destroyed" ] ||
        stop "All versions of $secret are destroyed. Add one, and run this again: gcloud secrets versions add $secret --data-file=FILE"
    text=$(openssl rand -base64 48)
    [ -n "$text" ] || stop "openssl printed no secret: try \`openssl rand -base64 48\`."
    version=$(printf %s "$text" | gcloud secrets versions add "$secret" --data-file=- --format='value(name.basename())')
    [ -n "$version" ] || stop "gcloud did not say which version of $secret it added: run this again."
fi
gcloud secrets add-iam-policy-binding "$secret" --member="serviceAccount:$receiver" \
    --role=roles/secretmanager.secretAccessor --format=none

# ---- where events go -------------------------------------------------------------------------------------------------

is_there pubsub topics describe "$events" ||
    gcloud pubsub topics create "$events" --message-retention-duration=7d \
        --message-storage-policy-allowed-regions="$region"
is_there pubsub subscriptions describe "$events" ||
    gcloud pubsub subscriptions create "$events" --topic="$events" --ack-deadline=60 --message-retention-duration=7d \
        --expiration-period=never
gcloud pubsub topics add-iam-policy-binding "$events" --member="serviceAccount:$receiver" \
    --role=roles/pubsub.publisher --format=none

is_there firestore databases describe --database="$database" ||
    gcloud firestore databases create --database="$database" --location="$region" --type=firestore-native \
        --delete-protection
gcloud firestore fields ttls update expiresAt --database="$database" --collection-group=seenKeys --enable-ttl --async
gcloud firestore indexes fields update expiresAt --database="$database" --collection-group=seenKeys --disable-indexes \
    --async
is_there iam roles describe dt_receiver --project="$project" ||
    gcloud iam roles create dt_receiver --project="$project" --title="$name: write documents" \
        --permissions=datastore.entities.create,datastore.entities.get
gcloud projects add-iam-policy-binding "$project" --member="serviceAccount:$receiver" \
    --role="projects/$project/roles/dt_receiver" --format=none \
    --condition="title=$name,expression=resource.name == \"projects/$project/databases/$database\""

# ---- the function ----------------------------------------------------------------------------------------------------

sleep "$wait"
# A function that is there keeps its settings. What closed it on Cloud Run's side stays closed, too.
if [ -z "$deployed" ]; then
    set -- --no-allow-unauthenticated --ingress-settings=all --timeout=9s --memory=512Mi --cpu=1 --concurrency=20 \
        --max-instances=10
    threads=THREADS=20,
else
    threads=''
    ingress=$(gcloud run services list --filter="metadata.name=$name" --region="$region" \
        --format='value(metadata.annotations."run.googleapis.com/ingress")')
    case $ingress in
    '') set -- ;; # it was never built
    internal) set -- --ingress-settings=internal-only ;;
    internal-and-cloud-load-balancing) set -- --ingress-settings=internal-and-gclb ;;
    all) set -- --ingress-settings=all ;;
    *) stop "The ingress of $name is $ingress, which this script does not know. Deploy it yourself: gcloud functions deploy --ingress-settings=..." ;;
    esac
fi
# The secret's newest version is that of the last rotation.
gcloud functions deploy "$name" --gen2 --region="$region" --runtime=python313 --source=dist/gcp_functions \
    --entry-point=receive --trigger-http "$@" \
    --service-account="$receiver" --build-service-account="projects/$project/serviceAccounts/$build" \
    --update-secrets="DT_SIGNATURE_SECRET=$secret:$version" \
    --update-env-vars="DT_TOPIC=projects/$project/topics/$events,DT_FIRESTORE=projects/$project/databases/$database,${threads}LOG_EXECUTION_ID=false"
# DT has no account at Google: the receiver verifies the signature itself.
gcloud run services update "$name" --region="$region" --no-invoker-iam-check
