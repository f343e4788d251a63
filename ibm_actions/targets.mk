# DT's asymmetric signature needs cryptography. What is deployed may have that setting too: code_engine.sh looks.
package-ibm: PACKAGE_ARGS = $(if $(DT_ORGANIZATION_ID),--es256,$(filter --es256,$(ARGS)))

.PHONY: deploy-ibm ibm-tools
deploy-ibm: package-ibm ## Deploy dist/ibm_actions/ to Code Engine by the IBM Cloud CLI (ARGS="--region eu-de")
	@exec sh ibm_actions/deploy/code_engine.sh $(ARGS)

TOOLS += ibm-tools
ibm-tools: .venv-ibm/.ibm-tools ## Install what checks ibm_actions/deploy and its Dockerfile, for their tests

.venv-ibm/.ibm-tools: requirements/ibm-tools.txt .venv-ibm/bin/python
	$(call install,.venv-ibm,$<)
	@touch $@

.venv-ibm/bin/python:
	$(call create,.venv-ibm)
