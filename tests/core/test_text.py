import sys
import unicodedata

import pytest

from core.text import printable

C0, C1 = [chr(code) for code in range(0x20)], [chr(code) for code in range(0x7F, 0xA0)]
# https://www.unicode.org/reports/tr9/#Directional_Formatting_Characters
BIDI = list("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


@pytest.mark.parametrize("character", [*C0, *C1, *BIDI, "\ud800", "\u2028"], ids=ascii)
def test_terminal_control_characters_are_replaced(character: str) -> None:
    assert printable(f"a{character}b") == "a?b"


@pytest.mark.parametrize("text", ["", "Møterom 3 & <lab>", "会議室", "🚪 4", "[red]"])
def test_ordinary_text_is_unchanged(text: str) -> None:
    assert printable(text) == text


def test_every_unicode_control_character_is_replaced() -> None:
    everything = "".join(map(chr, range(sys.maxunicode + 1)))
    assert not {unicodedata.category(character) for character in printable(everything)} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
