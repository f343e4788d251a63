"""``python -m cli``: dtconn, if it is not installed."""

from cli.main import app

app(prog_name="dtconn")
