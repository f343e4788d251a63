.PHONY: deploy-heroku
deploy-heroku: package-heroku ## Deploy dist/heroku/ (ARGS=APP); makes the app the first time
	@exec sh heroku/deploy.sh $(ARGS)
