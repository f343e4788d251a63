#!/bin/sh
# Prints the signature secret for a deployment to a resource group: nothing if its key vault has one, which stays; and
# otherwise DT_SIGNATURE_SECRET, or a random one.
#
#   sh azure_functions/new_secret.sh GROUP
set -eu

# By the vault's resource, which Owner and Contributor may read, and which never has the value:
# https://learn.microsoft.com/rest/api/keyvault/keyvault/secrets/list
vaults=$(az keyvault list --resource-group "$1" --query "[?starts_with(name, 'dt-')].id" --output tsv)
for vault in $vaults; do
    secrets=$(az rest --method get --url "$vault/secrets?api-version=2025-05-01" --query "value[].id" --output tsv)
    case $secrets in
    */secrets/signature-secret*)
        echo "The signature secret in ${vault##*/} stays. To change it: make rotate-secret-azure" >&2
        exit
        ;;
    esac
done
if [ -n "${DT_SIGNATURE_SECRET:-}" ]; then
    printf %s "$DT_SIGNATURE_SECRET"
else
    openssl rand -base64 48
fi
