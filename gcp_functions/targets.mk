.PHONY: deploy-gcp gcp-tools
deploy-gcp: package-gcp ## Deploy dist/gcp_functions.zip by Terraform (ARGS="-var=name=...")
	@exec sh gcp_functions/deploy.sh $(ARGS)

TOOLS += gcp-tools
gcp-tools: .venv-gcp/.gcp-tools ## Install a BigQuery for the tests of its reader

# DuckDB looks for its extensions in the home folder.
.venv-gcp/.gcp-tools: requirements/gcp-tools.txt .venv-gcp/bin/python
	$(call install,.venv-gcp,$<)
	@HOME=.venv-gcp .venv-gcp/bin/python -c 'from duckdb_extensions import import_extension as add; \
		[add(name) for name in ("ducklake", "icu", "spatial")]'
	@touch $@

# The only version that it takes.
.venv-gcp/bin/python:
	$(call create,.venv-gcp,3.13)
