"""DT's REST API, for the official clients as they are: https://developer.disruptive-technologies.com/api."""
