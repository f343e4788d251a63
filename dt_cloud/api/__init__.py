"""DT's REST API, for the unmodified official clients: https://developer.disruptive-technologies.com/api."""
