import gc

import pytest

from core.cold_start import quiet_collector


@pytest.mark.parametrize("fails", [True, False])
def test_collector_is_off_during_imports_and_on_afterwards(fails: bool) -> None:
    frozen = gc.get_freeze_count()
    try:
        with quiet_collector():
            assert not gc.isenabled()
            if fails:
                raise ImportError
    except ImportError:
        assert fails
    assert gc.isenabled()
    assert gc.get_freeze_count() > frozen
    gc.unfreeze()
