"""``dtconn cloud`` without a cloud; tests/dt_cloud has the rest."""

import pytest

from tests.cli.stored import dtconn


@pytest.mark.parametrize(
    "arguments",
    [("speed", "nan"), ("speed", "inf"), ("jump", "9" * 400), ("publish", "emu1", "temperature", '{"value":NaN}')],
)
def test_number_that_json_does_not_have_is_a_sentence(arguments: tuple[str, ...]) -> None:
    found = dtconn("cloud", *arguments)
    assert found.exit_code == 2
    assert found.stderr == "A number must be finite: JSON has neither NaN nor Infinity.\n"
