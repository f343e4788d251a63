# DT's asymmetric signature needs cryptography; azd and the shell give the setting that switches it on.
package-azure: PACKAGE_ARGS = $(if $(DT_ORGANIZATION_ID),--es256,$(filter --es256,$(ARGS)))

.PHONY: deploy-azure azure-tools azure-host azure-cli
deploy-azure: package-azure ## Deploy dist/azure_functions/ by the Azure Developer CLI; asks for a region the first time
	@exec sh azure_functions/deploy.sh $(ARGS)

TOOLS += azure-tools
azure-tools: .venv-azure/.azure-tools ## Install what checks azure_functions/infra, for its tests

HOSTS += azure-host
azure-host: .venv-azure-host/.azure-host ## Install what Azure's own Functions host runs the function with, for its tests

VENDORS += azure-cli
azure-cli: .venv-azure-cli/.azure-cli ## Install Azure's command line, which parses the commands of the pages

.venv-azure-cli/.azure-cli: requirements/azure-cli.txt .venv-azure-cli/bin/python
	$(call install,.venv-azure-cli,$<)
	@touch $@

.venv-azure/.azure-tools: requirements/azure-tools.txt .venv-azure/bin/python
	$(call install,.venv-azure,$<)
	@touch $@

.venv-azure-host/.azure-host: requirements/azure-host.txt .venv-azure-host/bin/python
	$(call install,.venv-azure-host,$<)
	@touch $@

.venv-azure/bin/python .venv-azure-cli/bin/python:
	$(call create,$(@:/bin/python=))

# The worker beside the host is for this version alone.
.venv-azure-host/bin/python:
	$(call create,.venv-azure-host,3.11)

LOCKED += requirements/azure-host
