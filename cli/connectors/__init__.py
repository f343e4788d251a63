"""The life of a Data Connector as commands of dtconn, by DT's API."""
