"""``python -m bench packages``: a package, with and without cryptography, and its peer are installed."""

import pytest

from bench import Options, packages


@pytest.mark.long
def test_sizes_of_a_package_and_its_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "_PEERS", {"ibm": packages._PEERS["ibm"]})
    section = packages.measure(Options(seconds=1, rounds=1, connections=1, before="HEAD"))
    sizes = {name: int(size.replace(",", "")) for name, size, _ in section.rows}
    assert list(sizes) == ["ibm: peer", "ibm: ours", "ibm: ours --es256"]
    assert 500_000 < sizes["ibm: ours"] < sizes["ibm: ours --es256"]
