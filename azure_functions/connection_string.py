"""Azure's connection strings, which begin like ``Endpoint=sb://`` or ``DefaultEndpointsProtocol=https``."""


def parse(text: str) -> dict[str, str]:
    """Return the values of a connection string by their names in lower case."""
    # A key may end with "=".
    parts = [part.partition("=") for part in text.strip().rstrip(";").split(";")]
    return {name.strip().lower(): value for name, _, value in parts}
