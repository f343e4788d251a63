"""A flood of unsigned requests takes little memory and delays no signed delivery, in each of our servers."""

import asyncio
from pathlib import Path

import pytest

from tests.contract.adapters import ADAPTERS, SERVERS
from tests.support.deliveries import SECRET
from tests.support.flood import ATTACKS, flood, most_megabytes
from tests.support.processes import Program

pytestmark = pytest.mark.long


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("name", SERVERS)
def test_flood_without_a_signature_does_not_block_deliveries(
    name: str, attack: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    with ADAPTERS[name]({"DT_SIGNATURE_SECRET": SECRET}, tmp_path, request) as adapter:
        assert isinstance(adapter.receiving, Program)
        latencies = asyncio.run(flood(adapter.receiving, *ATTACKS[attack]))
        assert most_megabytes(adapter.receiving) < 150
        assert len(adapter.bodies()) == len(latencies)
    # `make bench ARGS=flood` measures; here, a blocked delivery would take 8 s.
    assert latencies[len(latencies) // 2] < 2
