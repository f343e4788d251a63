import gc

import pytest

from core.cold_start import quiet_collector


@pytest.mark.parametrize("fails", [True, False])
def test_garbage_collector_is_disabled_during_the_imports(fails: bool) -> None:
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
