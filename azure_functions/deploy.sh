#!/bin/sh
# Deploys the package by the Azure Developer CLI, which asks what it does not know. `azd up` would do, but for three
# things: it does not make again what somebody deleted, asks more the first time, and knows no redundancy.
set -eu
cd "$(dirname "$0")"

for program in azd az; do
    command -v "$program" >/dev/null || {
        echo "No $program: see azure_functions/README.md." >&2
        exit 1
    }
done

# The first time: an environment for azd's answers, with the subscription of `az login`.
azd env get-values >/dev/null 2>&1 || azd env new dt-receiver --subscription "$(az account show --query id --output tsv)"

# Azure refuses to change the redundancy of an account, and the default of earlier versions was another.
if storage=$(azd env get-value storage 2>/dev/null) && ! azd env get-value DT_REDUNDANCY >/dev/null 2>&1; then
    redundancy=$(az storage account show --name "$storage" --query sku.name --output tsv)
    azd env set DT_REDUNDANCY "$redundancy"
fi

# Without --no-state azd skips a template that it deployed before, whatever has become of the resources.
azd provision --no-state "$@"
exec azd deploy
