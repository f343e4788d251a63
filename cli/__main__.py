"""``python -m cli``: dtconn, where it is not installed."""

from cli.main import app

app(prog_name="dtconn")
