"""The sources of the secret that dtconn signs with."""

from pathlib import Path

import pytest

from cli import CommandError
from cli.secret import find_secret


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("from the environment", b"from the environment"),
        ('["first","second"]', b"first"),
        ("hemmelighet på norsk", "hemmelighet på norsk".encode()),
        (" ", b"from the file"),
        ("", b"from the file"),
        (None, b"from the file"),
    ],
)
def test_sources_of_the_secret(tmp_path: Path, text: str | None, secret: bytes) -> None:
    path = tmp_path / "signature-secret"
    path.write_text("from the file\n")
    assert find_secret(text, path) == secret


def test_missing_secret_says_what_to_do(tmp_path: Path) -> None:
    for path in (tmp_path / "absent", tmp_path):
        with pytest.raises(CommandError, match=r"make run.*DT_SIGNATURE_SECRET") as caught:
            find_secret(None, path)
        assert caught.value.exit_code == 2


def test_invalid_array_of_secrets_is_not_printed(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="JSON array") as caught:
        find_secret('["hush"', tmp_path)
    assert "hush" not in str(caught.value)
