#!/bin/sh
# Deploy dist/ibm_actions/ to IBM Cloud Code Engine; --help says how. It creates missing resources, updates existing
# ones, and deletes nothing, so it can be run again at any point.
#
# The commands: https://cloud.ibm.com/docs/codeengine?topic=codeengine-cli and
# https://cloud.ibm.com/docs/cli?topic=cli-ibmcloud_commands_iam
set -eu

# The receiver's role. Writer writes and reads documents; only Manager creates databases, and the receiver creates one
# each year. So it has a separate instance, and a policy for that instance only:
# https://cloud.ibm.com/docs/Cloudant?topic=Cloudant-managing-access-for-cloudant#ibm-cloudant-roles-ai
ROLE=Manager
# As in ibm_actions/Dockerfile.
USER_ID=10001
# The receiver answers within 8 seconds, and DT waits for 10.
REQUEST_TIMEOUT=9
# The maximum, because a function that is stopped at its limit is answered 299, which DT takes as an acknowledgement:
# https://cloud.ibm.com/docs/codeengine?topic=codeengine-fun-work
EXECUTION_TIME=120
RUNTIME=python-3.13

usage() {
    cat <<'HELP'
Deploy the receiver to IBM Cloud Code Engine.

usage: code_engine.sh [option ...]

  --region REGION          where all of it is: one that Code Engine and Cloudant have, such as eu-de (default: the one
                           that is targeted)
  --form FORM              application (default): a container; or function
  --name NAME              of the application or function (default: dt-receiver); what is made for it is named after it
  --project NAME           the Code Engine project (default: NAME)
  --resource-group GROUP   where a project and a Cloudant instance are made (default: the one that is targeted, or else
                           the account's default one)
  --cloudant NAME          the Cloudant instance (default: the one that what is deployed writes to, or else NAME); it
                           should be for the receiver alone
  --cloudant-plan PLAN     if it has to be made: standard (default), or lite, which is free, and small
  --tags TAGS              tags to attach to the project and the Cloudant instance, such as team:facilities,cost:1
  --build-source FOLDER    what to deploy (default: dist/ibm_actions, which `make package-ibm` writes)
  --cpu CPU, --memory SIZE a combination that Code Engine has (default: 0.25 and 0.5G; a function: 0.25 and 1G)
  --min-scale N            application: instances that are there always (default: 0)
  --max-scale N            application: instances at most (default: 10)
  --concurrency N          application: requests at once for each instance (default: 32)
  --es256                  with what DT's asymmetric signature needs, although DT_ORGANIZATION_ID is set neither here nor
                           in what is deployed: for Terraform
  --change-secret          write another signature secret in the place of the one that is there
  --secret-only            the project and the secret, nothing else: for Terraform, or before a restart
  --build-only             the project and the build, nothing else, for Terraform
  --variables FILE         where --build-only writes what Terraform is given (default: build.auto.tfvars in
                           ibm_actions/deploy/terraform, where Terraform finds it)
  --help                   this text

If Code Engine does not have the signature secret, it gets the one in DT_SIGNATURE_SECRET, or a random one. With
--change-secret it is taken from DT_SIGNATURE_SECRET, else from the terminal, which does not show it, else it is the first
line of standard input. It is never an argument of a command.

Settings of the receiver that are in the environment go with it: DT_ORGANIZATION_ID, DT_SIGNATURE_POLICY,
DT_ACCEPT_EXPIRED_FOR, DT_EVENT_TYPES, DT_PROJECT_ID, DT_DATABASE_PREFIX, DT_DATABASE_PERIOD. A later run keeps those
that it is not given, and --cloudant, --cpu, --memory, --min-scale, --max-scale and --concurrency. It does not remember
--form, --name, --project, --region and --resource-group, which say what it deploys to: give them each time.

examples:
  sh ibm_actions/deploy/code_engine.sh
  sh ibm_actions/deploy/code_engine.sh --region eu-de --form function --name dt-function
  sh ibm_actions/deploy/code_engine.sh --region eu-de --min-scale 1 --cloudant my-cloudant
  DT_ORGANIZATION_ID=cvinmt9aq9sc738g6eog sh ibm_actions/deploy/code_engine.sh --region eu-de
  sh ibm_actions/deploy/code_engine.sh --region eu-de --change-secret <secret.txt
  sh ibm_actions/deploy/code_engine.sh --build-only
HELP
}

die() {
    at=''
    printf '%s\n' "$@" >&2
    exit 1
}

at=''
step() {
    at=$*
    printf '\n== %s\n' "$*"
}

# Standard input may contain the secret: no other command may read it.
ic() {
    ibmcloud "$@" </dev/null
}

# Print the strings of that name in the JSON on standard input. Ids, names and addresses never contain ,{}[].
json_strings() {
    tr ',{}[]' '[\n*]' | sed -n "s/^[[:space:]]*\"$1\"[[:space:]]*:[[:space:]]*\"\([^\"]*\)\"[[:space:]]*\$/\1/p"
}

json_string() {
    json_strings "$1" | sed -n 1p
}

# Print the value of that environment variable, from the JSON of an application or function on standard input.
json_variable() {
    tr -d '\n' | tr '{}' '[\n*]' | grep "\"name\"[[:space:]]*:[[:space:]]*\"$1\"" |
        sed -n 's/.*"value"[[:space:]]*:[[:space:]]*"\([^"]*\)".*/\1/p' | sed -n 1p
}

# After a failed lookup of $1: return if the list that the other arguments ask for lacks it too. If not, stop, because a
# lookup also fails without a network or a permission, and what is there must not be made again.
absent() {
    wanted=$1
    shift
    listed=$(ic "$@" --output json) ||
        die "Whether $wanted is there is not known, for what ibmcloud says above. Mend that and run the same again."
    case $listed in
    *"\"$wanted\""*) die "$wanted is there, but ibmcloud could not read it. Look: ibmcloud $*" ;;
    esac
}

# Print the name of a project of Code Engine that the whole cloud knows it by, from the JSON on standard input.
project_crn() {
    grep -o 'crn:[^"]*:codeengine:[^"]*' | sed -n 1p
}

# ---- what is wanted --------------------------------------------------------------------------------------------------

form=application name=dt-receiver region='' project='' group='' cloudant='' plan=standard mode=all
root=$(cd -- "$(dirname -- "$0")/../.." && pwd)
source=$root/dist/ibm_actions
variables=$root/ibm_actions/deploy/terraform/build.auto.tfvars
cpu='' memory='' min_scale='' max_scale='' concurrency='' change_secret='' tags='' es256=${DT_ORGANIZATION_ID:+yes}

while [ $# -gt 0 ]; do
    case $1 in
    --help | -h)
        usage
        exit
        ;;
    --es256) es256=yes ;;
    --change-secret) change_secret=yes ;;
    --secret-only) mode=secret ;;
    --build-only) mode=build ;;
    --form | --name | --region | --project | --resource-group | --cloudant | --cloudant-plan | --tags | \
        --build-source | --variables | --cpu | --memory | --min-scale | --max-scale | --concurrency)
        [ $# -gt 1 ] && [ -n "$2" ] || die "$1 takes a value: see --help."
        case $1 in
        --form) form=$2 ;;
        --name) name=$2 ;;
        --region) region=$2 ;;
        --project) project=$2 ;;
        --resource-group) group=$2 ;;
        --cloudant) cloudant=$2 ;;
        --cloudant-plan) plan=$2 ;;
        --tags) tags=$2 ;;
        --variables) variables=$2 ;;
        --build-source) source=$2 ;;
        --cpu) cpu=$2 ;;
        --memory) memory=$2 ;;
        --min-scale) min_scale=$2 ;;
        --max-scale) max_scale=$2 ;;
        --concurrency) concurrency=$2 ;;
        esac
        shift
        ;;
    *) die "$1 is not known here: see --help." ;;
    esac
    shift
done

case $form in
application) ce=application program=Dockerfile requirements=app-requirements.txt ;;
function) ce=function program=__main__.py requirements=requirements.txt ;;
*) die "--form is application or function, not $form." ;;
esac
case $name in
[!a-z]* | *[!a-z0-9-]* | *-) die "--name $name: a lower-case letter, then such letters, digits, hyphens; no hyphen last." ;;
esac
[ ${#name} -le 50 ] || die "--name $name is too long: 50 characters at most."
if [ "$form" = function ] && [ -n "$min_scale$max_scale$concurrency" ]; then
    die "--min-scale, --max-scale and --concurrency are for an application: Code Engine scales a function by itself."
fi
policy=${DT_SIGNATURE_POLICY-}
[ "$policy" != unsigned ] || die "DT_SIGNATURE_POLICY=unsigned lets in everybody, and the address is public: unset it."
project=${project:-$name}
profile=$name signature=$name-signature

if [ "$mode" != secret ]; then
    for file in "$program" "$requirements"; do
        [ -f "$source/$file" ] || die "$source/$file is not there. First: make package-ibm"
    done
    source=$(cd -- "$source" && pwd)
fi

# ---- what it takes ---------------------------------------------------------------------------------------------------

command -v ibmcloud >/dev/null ||
    die "No ibmcloud. Install the IBM Cloud CLI: https://cloud.ibm.com/docs/cli?topic=cli-install-ibmcloud-cli"
faults=''
fault() {
    echo "$1" >&2
    faults=yes
}
# All at once.
ic plugin show code-engine >/dev/null 2>&1 ||
    fault "The CLI has no plug-in for Code Engine. Install it: ibmcloud plugin install code-engine"
ic account show >/dev/null 2>&1 ||
    fault "Not logged in to IBM Cloud. Log in, and try again: ibmcloud login   (or: ibmcloud login --sso)"
[ -z "$faults" ] || exit 1

# Print the name of what is targeted, such as a region; nothing if none is.
targeted() {
    printf '%s\n' "$target" | tr -d '\n' |
        sed -n "s/.*\"$1\"[[:space:]]*:[[:space:]]*{[^}]*\"name\"[[:space:]]*:[[:space:]]*\"\([^\"]*\)\".*/\1/p"
}
target=$(ic target --output json) || die "What is targeted could not be read: ibmcloud target"
region=${region:-$(targeted region)}
[ -n "$region" ] || die "Say where, such as --region eu-de. \`ibmcloud regions\` lists them."
if [ -z "$group" ] && [ -z "$(targeted resource_group)" ]; then
    group=$(ic resource groups --default --output json | json_string name)
    [ -n "$group" ] || die "The default resource group could not be read. Name one: --resource-group GROUP"
fi

temporary=''
clean_up() {
    status=$?
    [ -z "$temporary" ] || rm -f "$temporary"
    [ -z "${echo_is_off-}" ] || stty echo
    [ $status = 0 ] || [ -z "$at" ] || printf '%s\n' "It stopped at \"$at\", for what ibmcloud says above." \
        "Mend that and run the same again: what is done stays done." >&2
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# In a private file by mktemp, because everybody can see a command's arguments.
read_secret() {
    if [ -n "${DT_SIGNATURE_SECRET-}" ]; then
        secret=$DT_SIGNATURE_SECRET
    elif [ -z "$change_secret" ]; then
        secret=$(openssl rand -base64 48) || die "No random secret: install openssl, or set DT_SIGNATURE_SECRET."
    elif [ -t 0 ]; then
        echo_is_off=yes
        stty -echo
        printf 'The signature secret, as in DT Studio (it is not shown): '
        IFS= read -r secret || true
        stty echo
        echo_is_off=''
        echo
    else
        IFS= read -r secret || true
    fi
    [ -n "$secret" ] || die "No signature secret. Set DT_SIGNATURE_SECRET, or type it, or append <FILE to the command."
    [ ${#secret} -ge 32 ] || echo "The signature secret is short: 32 characters at least make it hard to guess." >&2
    temporary=$(mktemp)
    printf %s "$secret" >"$temporary"
    unset secret
}

step "Region $region"
if [ -n "$group" ]; then
    ic target -r "$region" -g "$group" >/dev/null
else
    ic target -r "$region" >/dev/null
fi

# ---- what is there ---------------------------------------------------------------------------------------------------

# All lookups come before anything is made.
step "What is there"
has_project='' has_secret='' deploy=create deployed='' writes_to='' prefix=''
if ic ce project get --name "$project" >/dev/null 2>&1; then
    has_project=yes
    ic ce project select --name "$project" >/dev/null
    if [ "$mode" != build ]; then
        if ic ce secret get --name "$signature" >/dev/null 2>&1; then
            has_secret=yes
        else
            absent "$signature" ce secret list
        fi
    fi
    if [ "$mode" != secret ]; then
        if deployed=$(ic ce "$ce" get --name "$name" --output json 2>/dev/null); then
            deploy=update
            writes_to=$(printf '%s\n' "$deployed" | json_variable DT_CLOUDANT)
            writes_to=${writes_to%/}
            prefix=$(printf '%s\n' "$deployed" | json_variable DT_DATABASE_PREFIX)
        else
            absent "$name" ce "$ce" list
        fi
    fi
else
    absent "$project" resource service-instances --service-name codeengine --location "$region"
fi

cloudant_json() {
    ic resource service-instance "$1" --output json 2>/dev/null
}

id='' instance=''
if [ "$mode" = all ]; then
    if [ "$deploy" = update ] && [ -z "$cloudant" ]; then
        [ -n "$writes_to" ] || die "Where $name writes to could not be read. Name the instance: --cloudant NAME"
        instances=$(ic resource service-instances --service-name cloudantnosqldb --output json) ||
            die "The Cloudant instances could not be listed. Mend what ibmcloud says above and run the same again."
        for guid in $(printf '%s\n' "$instances" | json_strings guid); do
            instance=$(cloudant_json "$guid") || die "Cloudant instance $guid could not be read. Run the same again."
            public=$(printf '%s\n' "$instance" | json_string public)
            [ "https://${public#https://}" != "$writes_to" ] || cloudant=$guid
            [ -z "$cloudant" ] || break
        done
        [ -n "$cloudant" ] || die "$name writes to $writes_to, which is no instance in the resource group that is targeted." \
            "Give its group, --resource-group GROUP, or another instance, --cloudant NAME."
    else
        cloudant=${cloudant:-$name}
        if ! instance=$(cloudant_json "$cloudant") || [ -z "$(printf '%s\n' "$instance" | json_string guid)" ]; then
            instance=''
            absent "$cloudant" resource service-instances --service-name cloudantnosqldb
        fi
    fi
    if found=$(ic iam trusted-profile "$profile" --output JSON 2>/dev/null); then
        id=$(printf '%s\n' "$found" | json_string id)
    fi
    [ -n "$id" ] || absent "$profile" iam trusted-profiles
fi

# ---- the project -----------------------------------------------------------------------------------------------------

if [ -n "$has_project" ]; then
    step "Code Engine project $project: is there"
else
    step "Code Engine project $project: making it"
    ic ce project create --name "$project"
    ic ce project select --name "$project" >/dev/null
fi

# ---- the package -----------------------------------------------------------------------------------------------------

if [ "$mode" != secret ]; then
    # What runs there keeps its settings, so the package has to have what they need: a function without it answers 503.
    case $deployed in *'"DT_ORGANIZATION_ID"'*) es256=yes ;; esac
    if [ -n "$es256" ] && ! grep -q '^cryptography==' "$source/$requirements"; then
        [ "$source" = "$root/dist/ibm_actions" ] ||
            die "$source lacks what DT_ORGANIZATION_ID needs: make it by make package-ibm ARGS=--es256"
        step "Package: again, with what DT_ORGANIZATION_ID needs"
        interpreter=$(sh "$root/tools/python.sh")
        "$interpreter" "$root/tools/package.py" ibm --es256
    fi
fi

# ---- the secret ------------------------------------------------------------------------------------------------------

if [ "$mode" != build ]; then
    if [ -n "$has_secret" ] && [ -z "$change_secret" ]; then
        step "Secret $signature: is there, and stays as it is (--change-secret changes it)"
    elif [ "$policy" = es256 ] && [ -z "$change_secret" ]; then
        step "Secret: none, because DT_SIGNATURE_POLICY is es256"
    else
        if [ -n "$has_secret" ]; then do=update; else do=create; fi
        step "Secret $signature: $do"
        read_secret
        # The whole content of the file is the value: https://cloud.ibm.com/docs/codeengine?topic=codeengine-secret
        ic ce secret "$do" --name "$signature" --from-file "DT_SIGNATURE_SECRET=$temporary" >/dev/null
        rm -f "$temporary"
        temporary='' has_secret=yes
    fi
    unset DT_SIGNATURE_SECRET
fi

if [ "$mode" = secret ]; then
    echo "The secret is in $signature of project $project. What runs already gets it by a restart. An application:"
    echo "ibmcloud ce application restart --name $name"
    echo "A function: deploy it again."
    exit
fi

# ---- the build alone -------------------------------------------------------------------------------------------------

if [ "$mode" = build ]; then
    if [ "$form" = application ]; then
        run=$name-$(date -u +%Y%m%d-%H%M%S)
        step "Build run $run"
        ic ce buildrun submit --name "$run" --source "$source" --strategy dockerfile --wait --wait-timeout 900
        found=$(ic ce buildrun get --name "$run" --output json)
        reference=$(printf '%s\n' "$found" | json_string output_image)
        pull=$(printf '%s\n' "$found" | json_string output_secret)
        show="ibmcloud ce buildrun get --name $run"
    else
        # A code bundle is built with a function, and not without one. This one is private, and nobody calls it.
        built=$name-build
        do=update
        if ! ic ce function get --name "$built" >/dev/null 2>&1; then
            absent "$built" ce function list
            do=create
        fi
        step "Function $built, which holds the build: $do"
        ic ce function "$do" --name "$built" --build-source "$source" --runtime "$RUNTIME" \
            --cpu "${cpu:-0.25}" --memory "${memory:-1G}" --visibility project --wait
        found=$(ic ce function get --name "$built" --output json)
        reference=$(printf '%s\n' "$found" | json_string code_reference)
        pull=$(printf '%s\n' "$found" | json_string code_secret)
        show="ibmcloud ce function get --name $built"
    fi
    [ -n "$reference" ] || die "It is built, but where it is could not be read. Look: $show"
    project_id=$(ic ce project get --name "$project" --output json | json_string guid)
    step "Done. The variables of Terraform, also in $variables:"
    {
        printf '%s = "%s"\n' form "$form" region "$region" project_id "$project_id" reference "${reference#cr://}" \
            registry_secret "$pull"
        if [ -n "$es256" ]; then echo 'es256 = true'; else echo 'es256 = false'; fi
    } | tee "$variables"
    exit
fi

# ---- Cloudant --------------------------------------------------------------------------------------------------------

if [ -n "$instance" ]; then
    step "Cloudant instance $cloudant: is there"
else
    step "Cloudant instance $cloudant: making it, plan $plan"
    # No passwords besides IAM's roles: they would bypass the roles.
    ic resource service-instance-create "$cloudant" cloudantnosqldb "$plan" "$region" \
        -p '{"legacyCredentials": false}'
    left=60
    until instance=$(cloudant_json "$cloudant") &&
        [ "$(printf '%s\n' "$instance" | json_string state)" = active ]; do
        left=$((left - 1))
        [ $left -gt 0 ] || die "Cloudant takes its time. Wait until it is active, then run this again:" \
            "ibmcloud resource service-instance $cloudant"
        sleep 5
    done
fi
case $instance in
*:cloudantnosqldb:*) ;;
*) die "$cloudant is there, but it is no Cloudant. Name another: --cloudant NAME" ;;
esac
[ "$(printf '%s\n' "$instance" | json_strings guid | wc -l)" -eq 1 ] ||
    die "There are several instances called $cloudant. Give the id of one: --cloudant GUID"
cloudant_id=$(printf '%s\n' "$instance" | json_string guid)
cloudant_crn=$(printf '%s\n' "$instance" | grep -o 'crn:[^"]*:cloudantnosqldb:[^"]*' | sed -n 1p)
cloudant_host=$(printf '%s\n' "$instance" | json_string public)
[ -n "$cloudant_host" ] || die "$cloudant has no public address. Give it one: its Service endpoint in the console."
cloudant_url=https://${cloudant_host#https://}
echo "$cloudant_url"
[ -z "$writes_to" ] || [ "$writes_to" = "$cloudant_url" ] ||
    echo "New events will go to $cloudant_url; those so far stay in $writes_to." >&2

# ---- who it is -------------------------------------------------------------------------------------------------------

if [ -n "$id" ]; then
    step "Trusted profile $profile: is there"
else
    step "Trusted profile $profile: making it"
    ic iam trusted-profile-create "$profile"
    id=$(ic iam trusted-profile "$profile" --output JSON | json_string id)
fi
case $id in
Profile-*) ;;
*) die "The id of the trusted profile could not be read. Look: ibmcloud iam trusted-profile $profile" ;;
esac

policies=$(ic iam trusted-profile-policies "$profile" --output JSON)
if printf '%s\n' "$policies" | grep -qF "$cloudant_id"; then
    step "Its role in Cloudant: is there"
else
    step "Its role in Cloudant: $ROLE, of this one instance, because no smaller role makes a database"
    ic iam trusted-profile-policy-create "$profile" --roles "$ROLE" --service-name cloudantnosqldb \
        --service-instance "$cloudant_id"
fi

# ---- the application or function -------------------------------------------------------------------------------------

if [ "$deploy" = create ]; then
    cpu=${cpu:-0.25}
    if [ "$form" = application ]; then
        memory=${memory:-0.5G} min_scale=${min_scale:-0} max_scale=${max_scale:-10} concurrency=${concurrency:-32}
    else
        memory=${memory:-1G}
    fi
fi

set -- --name "$name" --build-source "$source" --visibility public --trusted-profiles-enabled=true --wait
[ -z "$cpu" ] || set -- "$@" --cpu "$cpu"
[ -z "$memory" ] || set -- "$@" --memory "$memory"
if [ "$form" = application ]; then
    # Ready means that the port is open, which is the last step of the start. The liveness probe runs once a minute,
    # because each one writes a log line.
    set -- "$@" --build-strategy dockerfile --port 8080 --user "$USER_ID" --request-timeout "$REQUEST_TIMEOUT" \
        --probe-live type=http --probe-live path=/healthz --probe-live interval=60 --probe-live timeout=5 \
        --probe-live failure-threshold=3
    [ -z "$min_scale" ] || set -- "$@" --min-scale "$min_scale"
    [ -z "$max_scale" ] || set -- "$@" --max-scale "$max_scale"
    [ -z "$concurrency" ] || set -- "$@" --concurrency "$concurrency"
else
    set -- "$@" --runtime "$RUNTIME" --maxexecutiontime "$EXECUTION_TIME"
fi
set -- "$@" --env "DT_CLOUDANT=$cloudant_url" --env "DT_TRUSTED_PROFILE=$id"
[ -z "${DT_DATABASE_PREFIX-}" ] || set -- "$@" --env "DT_DATABASE_PREFIX=$DT_DATABASE_PREFIX"
[ -z "${DT_DATABASE_PERIOD-}" ] || set -- "$@" --env "DT_DATABASE_PERIOD=$DT_DATABASE_PERIOD"
[ -z "${DT_ORGANIZATION_ID-}" ] || set -- "$@" --env "DT_ORGANIZATION_ID=$DT_ORGANIZATION_ID"
[ -z "$policy" ] || set -- "$@" --env "DT_SIGNATURE_POLICY=$policy"
[ -z "${DT_ACCEPT_EXPIRED_FOR-}" ] || set -- "$@" --env "DT_ACCEPT_EXPIRED_FOR=$DT_ACCEPT_EXPIRED_FOR"
[ -z "${DT_EVENT_TYPES-}" ] || set -- "$@" --env "DT_EVENT_TYPES=$DT_EVENT_TYPES"
[ -z "${DT_PROJECT_ID-}" ] || set -- "$@" --env "DT_PROJECT_ID=$DT_PROJECT_ID"
[ -z "$has_secret" ] || set -- "$@" --env-from-secret "$signature:DT_SIGNATURE_SECRET"

step "$form $name: $deploy, built from $source"
ic ce "$ce" "$deploy" "$@"

# ---- what lets it be that profile ------------------------------------------------------------------------------------

crn=$(ic ce project get --name "$project" --output json | project_crn)
[ -n "$crn" ] || crn=$(ic resource service-instance "$project" --output json | project_crn)
[ -n "$crn" ] || die "The CRN of project $project could not be read. Look: ibmcloud resource service-instance $project"
if [ -n "$tags" ]; then
    step "Tags: $tags"
    for resource in "$crn" "$cloudant_crn"; do
        ic resource tag-attach --tag-names "$tags" --resource-id "$resource"
    done
fi
link=$ce-$name
links=$(ic iam trusted-profile-links "$profile" --output JSON)
if printf '%s\n' "$links" | grep -qF "\"$link\"" && printf '%s\n' "$links" | grep -qF "$crn"; then
    step "Link of the $form to the trusted profile: is there"
else
    step "Link of the $form to the trusted profile: making it"
    ic iam trusted-profile-link-create "$profile" --name "$link" --cr-type CE --link-crn "$crn" \
        --link-component-type "$ce" --link-component-name "$name"
fi

if [ "$form" = application ]; then
    url=$(ic ce application get --name "$name" --output url)
else
    url=$(ic ce function get --name "$name" --output json | json_string endpoint)
fi
case $url in
https://*) ;;
*) die "It is deployed, but its address could not be read. Look: ibmcloud ce $ce get --name $name" ;;
esac

step "The source, for dtconn --from:"
prefix=${DT_DATABASE_PREFIX:-$prefix}
echo "cloudant:$cloudant_url/${prefix:-events}"

step "Done. The endpoint URL, for DT Studio > API Integrations > Data Connectors:"
echo "$url"
