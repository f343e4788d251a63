.PHONY: deploy-gcp
deploy-gcp: package-gcp ## Deploy dist/gcp_functions.zip by Terraform (ARGS=-var=project=...)
	@command -v terraform >/dev/null || { echo "No Terraform: see gcp_functions/README.md." >&2; exit 1; }
	@terraform -chdir=gcp_functions/terraform init -input=false && exec terraform -chdir=gcp_functions/terraform apply $(ARGS)
