"""The small race of `bigray doctor --bench`, on one of its networks."""

import pytest

from bigray import plugins, probe


@pytest.fixture
def recurrent(monkeypatch):
    one = next(entry for entry in probe._networks() if "recurrent" in entry[0])
    monkeypatch.setattr(probe, "_networks", lambda: iter([one]))


def test_every_engine_has_a_line_and_failures_carry_their_reason(recurrent):
    found = {one.label: one for one in probe.race(seconds=0.05)}
    assert set(plugins.names("bigray.engines")) <= set(found)
    assert found["torch_eager"].speedup == pytest.approx(1.0)
    assert all(one.p50_ms > 0 for one in found.values() if one.speedup is not None)
    assert all(one.reason for one in found.values() if one.speedup is None or one.speedup <= 0.99)
    assert "bfloat16" in found["openvino + bfloat16"].label
    assert found["onnxruntime + bfloat16"].speedup is None


def test_an_engine_that_breaks_is_a_line(recurrent, monkeypatch):
    from bigray.engines import openvino

    def explode(*args, **kwargs):
        raise OSError("no such instruction")

    monkeypatch.setattr(type(openvino.ENGINE), "export", explode)
    found = {one.label: one for one in probe.race(seconds=0.05)}
    assert found["openvino"].reason == "OSError: no such instruction"
    assert found["onnxruntime"].speedup is not None
