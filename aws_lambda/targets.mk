# The python with pip, for the libraries; Lambda's own version of Python, if that is there, for their bytecode.
package-aws: ready/.venv/.run
package-aws: PACKAGER = .venv/bin/python
package-aws: PACKAGE_ARGS = $(ARGS)

.PHONY: deploy-aws aws-tools
# make passes the variables of its command line on; written here, a quote in them would end the shell's.
deploy-aws: package-aws ## Deploy dist/aws_lambda.zip by SAM (PARAMETERS="KeepDays=30 ..." TAGS="team=x ...")
	@exec sh aws_lambda/deploy.sh

TOOLS += aws-tools
aws-tools: .venv-aws/.aws-tools ## Install what checks aws_lambda/template.yaml, for its tests

.venv-aws/.aws-tools: requirements/aws-tools.txt .venv-aws/bin/python
	$(call install,.venv-aws,$<)
	@touch $@

.venv-aws/bin/python:
	$(call create,.venv-aws)
