.PHONY: deploy-heroku heroku-cli
deploy-heroku: package-heroku ## Deploy dist/heroku/; makes the app the first time (ARGS=APP)
	@exec sh heroku/deploy.sh $(ARGS)

VENDORS += heroku-cli
heroku-cli: tests/support/heroku/node_modules/.package-lock.json ## Install Heroku's command line, which parses the commands of the pages

tests/support/heroku/node_modules/.package-lock.json: tests/support/heroku/package-lock.json
	@echo "Installing $< into $(@D)"
	@npm ci --silent --prefix tests/support/heroku
	@touch $@
