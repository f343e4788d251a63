"""Finds the signature secret that the receiver on this desk has."""

from pathlib import Path

from cli import CommandError
from core.environment import SettingsError
from core.settings import Settings


def find_secret(text: str | None, path: Path) -> bytes:
    """Return the secret to sign with.

    Args:
        text: What DT_SIGNATURE_SECRET or --secret says: one secret, or a JSON array, of which the first is taken.
        path: The file that has it otherwise.

    Raises:
        CommandError: There is none.
    """
    if not text or not text.strip():
        try:
            text = path.read_text().strip()
        except (OSError, ValueError):
            text = ""
        if not text:
            raise CommandError(
                f"There is no secret to sign with. Start the receiver with `make run`, which writes one to {path}, "
                "or set DT_SIGNATURE_SECRET to the receiver's.",
                2,
            )
    try:
        # Read by the receiver's own rules, so that both sides come to the same bytes.
        return Settings.load({"DT_SIGNATURE_SECRET": text}).verifier.secrets[0]
    except SettingsError as error:
        raise CommandError(str(error), 2) from None
