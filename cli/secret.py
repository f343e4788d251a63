"""Finds the signature secret of the local receiver."""

from pathlib import Path
from typing import Annotated

import typer

from cli import CommandError
from core.environment import SettingsError
from core.settings import Settings

SECRET_FILE = Path("var/signature-secret")
Secret = Annotated[
    str | None,
    typer.Option(
        envvar="DT_SIGNATURE_SECRET", metavar="TEXT", help="The signature secret; the first, of a JSON array."
    ),
]
SecretFile = Annotated[Path, typer.Option(help="Has the secret, where there is no --secret. `make run` writes it.")]


def find_secret(text: str | None, path: Path) -> bytes:
    """Return the secret to sign with.

    Args:
        text: The value of DT_SIGNATURE_SECRET or --secret: one secret, or a JSON array, whose first is used.
        path: The file with the secret otherwise.

    Raises:
        CommandError: There is no secret.
    """
    if not text or not text.strip():
        try:
            text = path.read_text().strip()
        except PermissionError:
            raise CommandError(
                f"You may not read {path}. Run this as the receiver's user, or set DT_SIGNATURE_SECRET to its secret.",
                2,
            ) from None
        except (OSError, ValueError):
            text = ""
        if not text:
            raise CommandError(
                f"There is no secret to sign with. Start the receiver with `make run`, which writes one to {path}, "
                "or set DT_SIGNATURE_SECRET to the receiver's.",
                2,
            )
    try:
        # Parsed by the receiver's rules, so that both sides use the same bytes.
        return Settings.load({"DT_SIGNATURE_SECRET": text}).verifier.secrets[0]
    except SettingsError as error:
        raise CommandError(str(error), 2) from None
