"""The receiver on Heroku, with the events in Postgres."""
