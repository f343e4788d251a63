"""The Data Connectors that post to a receiver, as `dtconn rotate-secret` changes their secret."""

from collections.abc import Sequence

from cli import CommandError
from cli.connectors.access import has_account
from cli.connectors.client import ApiError, Client
from cli.connectors.matching import at_url
from cli.connectors.options import connect_to_dt, require
from cli.connectors.values import Connector


class Signing:
    """The Data Connectors that sign what they post to a receiver by a secret.

    Args:
        client: DT's API.
        connectors: All of them have a secret.
    """

    def __init__(self, client: Client, connectors: Sequence[Connector]) -> None:
        self._client = client
        self._connectors = connectors

    def other_than(self, *secrets: str) -> str:
        """Return the names of those that sign with another secret than these; empty if there are none."""
        return ", ".join(each.shown for each in self._connectors if each.secret not in secrets)

    def use(self, secret: str) -> Sequence[Connector]:
        """Have all of them sign with a secret, and return them.

        Raises:
            CommandError: DT Cloud refuses, or does not answer. Some may have the secret already.
        """
        for each in self._connectors:
            if each.secret != secret:
                try:
                    self._client.update(each, secret=secret)
                except ApiError as error:
                    raise CommandError(
                        f"The receiver accepts the new secret, but {each.shown} does not sign with it yet. {error}",
                        error.exit_code,
                    ) from None
        return self._connectors


def find_signing(url: str, *permissions: str) -> Signing | None:
    """Find the Data Connectors of a URL, in every project that the account of the environment sees.

    Args:
        url: The receiver's address.
        permissions: What the account must be allowed to do in their projects.

    Returns:
        None if the environment has no account, or if no Data Connector signs what it posts to the URL by a secret.

    Raises:
        CommandError: DT Cloud refuses, or does not answer; or a permission is missing.
    """
    if not has_account():
        return None
    client = connect_to_dt()
    found = []
    for project in client.projects():
        here = [each for each in at_url(client.connectors(project.project_id), url) if each.secret]
        if here and permissions:
            require(client, project, *permissions)
        found += here
    return Signing(client, found) if found else None
