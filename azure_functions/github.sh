#!/bin/sh
# Lets one workflow of GitHub deploy to a resource group, without a key: docs/deploying.md. It makes what is missing, so it
# can run again, also for another repository. It prints the id that the workflow logs in with.
#
#   sh azure_functions/github.sh repo:me/my-fork:environment:azure GROUP
set -eu
subject=$1 group=$2
name=dt-receiver-deploy

client=$(az ad app list --display-name "$name" --query "[?displayName=='$name'].appId | [0]" --output tsv)
[ -n "$client" ] || client=$(az ad app create --display-name "$name" --query appId --output tsv)
az ad sp show --id "$client" --output none 2>/dev/null || az ad sp create --id "$client" --output none

credential='{"name": "github", "issuer": "https://token.actions.githubusercontent.com", "subject": "'$subject'",
    "audiences": ["api://AzureADTokenExchange"]}'
if [ -n "$(az ad app federated-credential list --id "$client" --query "[?name=='github'].id" --output tsv)" ]; then
    az ad app federated-credential update --id "$client" --federated-credential-id github --parameters "$credential" \
        --output none
else
    az ad app federated-credential create --id "$client" --parameters "$credential" --output none
fi

# By the id of the principal, which is not found by that of the application everywhere at once.
az role assignment create --assignee-object-id "$(az ad sp show --id "$client" --query id --output tsv)" \
    --assignee-principal-type ServicePrincipal --role Owner \
    --scope "$(az group show --name "$group" --query id --output tsv)" --output none
echo "$client"
