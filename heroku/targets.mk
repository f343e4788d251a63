.PHONY: deploy-heroku
deploy-heroku: package-heroku ## Deploy dist/heroku/; makes the app the first time (ARGS=APP)
	@exec sh heroku/deploy.sh $(ARGS)
