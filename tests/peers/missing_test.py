"""The tests of a peer that is not installed are skipped with a reason."""

from __future__ import annotations

import pytest

from tests.support.missing import import_peer, missing


def test_skipped_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="nginx is not installed: these tests are"):
        missing("nginx")
    with pytest.raises(pytest.skip.Exception, match="no_such_peer is not installed"):
        import_peer("no_such_peer")


def test_failure_if_ci_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="nginx is not installed, and CI is set"):
        missing("nginx")
    with pytest.raises(pytest.fail.Exception, match="no_such_peer is not installed"):
        import_peer("no_such_peer")


def test_broken_peer_is_not_skipped() -> None:
    with pytest.raises(ModuleNotFoundError):
        import_peer("asyncio.no_such_module")
