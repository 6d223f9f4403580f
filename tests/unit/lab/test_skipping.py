import os

import pytest
from support import ground


def test_without_root_the_tests_of_the_lab_are_skipped_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(ground, "claim", lambda: pytest.fail("went on"))
    with pytest.raises(pytest.skip.Exception, match="root"), ground.own_lab():
        pass


def test_without_nspawn_the_tests_of_the_lab_are_skipped_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr("gpuhost.lab.requirements.SEARCH_PATH", "/nonexistent")
    with pytest.raises(pytest.skip.Exception, match="systemd-container"), ground.own_lab():
        pass
