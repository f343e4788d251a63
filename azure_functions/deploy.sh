#!/bin/sh
# Deploys the package by the Azure Developer CLI. It asks for a region where there is no resource group yet, and nothing
# else. It keeps what is there, the signature secret above all, so it can run again: after an error, or for a new version.
#
#   AZURE_RESOURCE_GROUP=dt-receiver AZURE_LOCATION=westeurope sh azure_functions/deploy.sh [OPTION OF azd provision]...
#
# Both variables are for the first time only. `azd up` would do, but for this: it does not make again what somebody
# deleted, knows no redundancy, registers no providers, and would replace a secret.
set -eu
cd "$(dirname "$0")"
# Otherwise an az that pip installed takes http.py here for Python's own, and ends with a traceback.
export PYTHONSAFEPATH=1

faults=''
fault() {
    echo "$1" >&2
    faults=yes
}
stop() {
    fault "$1"
    exit 1
}
has() {
    command -v "$1" >/dev/null
}

# All at once.
if ! has az; then
    fault "No az: install the Azure CLI, https://learn.microsoft.com/cli/azure/install-azure-cli"
elif ! subscription=$(az account show --query id --output tsv 2>/dev/null); then
    fault "az is not logged in: az login"
fi
if ! has azd; then
    fault "No azd: install the Azure Developer CLI, https://aka.ms/azd/install"
elif azd auth login --check-status --output json 2>/dev/null | grep -q unauthenticated; then
    fault "azd is not logged in: azd auth login"
fi
has openssl || fault "No openssl, which makes the signature secret: install it."
[ -z "$faults" ] || exit 1

# azd says why it has no value where the value would be.
value() {
    found=$(azd env get-value "$1" 2>/dev/null) || found=''
    echo "$found"
}

azd env get-values >/dev/null 2>&1 || azd env new dt-receiver --subscription "$subscription"
[ -n "$(value AZURE_SUBSCRIPTION_ID)" ] || azd env set AZURE_SUBSCRIPTION_ID "$subscription"
known=$(value AZURE_SUBSCRIPTION_ID)
[ -n "$known" ] || stop "azd's values cannot be read: azd env get-values --cwd azure_functions says why."
[ "$known" = "$subscription" ] ||
    stop "The receiver is in another subscription than az: az account set --subscription $known"

# Before the first deployment. Whoever owns a resource group alone may register nothing, and need not where others did.
if [ -z "$(value url)" ]; then
    registered=$(az provider list --query "[?registrationState=='Registered'].namespace" --output tsv)
    for provider in Microsoft.Consumption Microsoft.Insights Microsoft.KeyVault Microsoft.ManagedIdentity \
        Microsoft.OperationalInsights Microsoft.ServiceBus Microsoft.Storage Microsoft.Web; do
        echo "$registered" | grep -qix "$provider" || az provider register --namespace "$provider"
    done
fi

# Look-ups are assigned before they are used: within another command, one that fails would count as an empty answer.
known=$(value AZURE_RESOURCE_GROUP)
group=${known:-${AZURE_RESOURCE_GROUP:-dt-receiver}}
if [ -z "$known" ]; then
    exists=$(az group exists --name "$group")
    # To create one again clears its tags.
    if [ "$exists" = false ]; then
        region=${AZURE_LOCATION:-}
        if [ -z "$region" ]; then
            az functionapp list-flexconsumption-locations --query '[].name' --output tsv | sort | tr '\n' ' '
            printf '\nRegion of the new resource group %s: ' "$group"
            read -r region || stop "Say in which region, such as AZURE_LOCATION=westeurope."
        fi
        az group create --name "$group" --location "$region" --output none
    fi
fi

# azd's environment is in this copy of the repository alone, and what it does not know gets its default.
app=$(az functionapp list --resource-group "$group" --query "[?tags.\"azd-service-name\"=='receiver'].name" \
    --output tsv)
if [ -n "$app" ]; then
    [ -n "$known" ] ||
        stop "$group has a receiver, whose settings are not here: copy azure_functions/.azure from where it was \
deployed, or set each that is not the default by azd env set NAME VALUE --cwd azure_functions, and \
AZURE_RESOURCE_GROUP $group last."
    store=$(az functionapp config appsettings list --resource-group "$group" --name "$app" \
        --query "[?name=='DT_STORE'].value" --output tsv)
    [ -n "$(value DT_STORE)" ] || [ "${store:-service_bus}" = service_bus ] ||
        stop "The receiver in $group stores in $store: azd env set DT_STORE $store --cwd azure_functions"
fi

if [ -z "$(value AZURE_LOCATION)" ]; then
    region=$(az group show --name "$group" --query location --output tsv)
    azd env set AZURE_LOCATION "$region"
fi
[ -n "$known" ] || azd env set AZURE_RESOURCE_GROUP "$group"

# Azure refuses to change the redundancy of an account, and the default of earlier versions was another.
if [ -z "$(value DT_REDUNDANCY)" ]; then
    redundancy=$(az storage account list --resource-group "$group" --query "[?starts_with(name, 'dt')].sku.name" \
        --output tsv)
    [ -z "$redundancy" ] || azd env set DT_REDUNDANCY "$redundancy"
fi

[ -z "$(value DT_SIGNATURE_SECRET)" ] ||
    stop "azd's environment has DT_SIGNATURE_SECRET, in a file: take it out of azure_functions/.azure/*/.env."
policy=$(value DT_SIGNATURE_POLICY)
if [ "${policy:-${DT_SIGNATURE_POLICY:-}}" = es256 ]; then
    unset DT_SIGNATURE_SECRET
else
    DT_SIGNATURE_SECRET=$(sh new_secret.sh "$group")
    export DT_SIGNATURE_SECRET
fi

# Without --no-state azd skips a template that it deployed before, whatever has become of the resources.
azd provision --no-state "$@"
exec azd deploy
