"""Serve YAML: the shipped files, what is generated, and what is refused."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from bigray import plugins
from bigray.errors import ArtifactCorrupt, ArtifactError, NotFound, RecipeError
from bigray.recipe import Serve
from bigray.serve import app, config, edge
from bigray.serve.listen import LOOPBACK_NAMES, SUPERVISION

FOLDER = Path(__file__).parents[2] / "serve_configs"


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_file(path: Path) -> None:
    found = config.read_config(path)
    assert found["http_options"]["host"] == "127.0.0.1"
    environment = {edge.CALLBACK: edge.IMPORT_PATH, edge.HOSTS: LOOPBACK_NAMES, **SUPERVISION}
    assert found["controller_options"]["runtime_env"]["env_vars"] == environment
    names = {application["name"] for application in found["applications"]} - {"_index"}
    assert names == (set(plugins.names("bigray.tasks")) if path.stem == "all" else {path.stem})


def test_one_file_per_task() -> None:
    assert {path.stem for path in FOLDER.glob("*.yaml")} == {*plugins.names("bigray.tasks"), "all"}


def test_generated() -> None:
    made = config.config_for({"a": "/models/a", "b": "/models/b"}, settings={"b": {"max_replicas": 4}})
    assert [one["route_prefix"] for one in made["applications"]] == ["/", "/models/a", "/models/b"]
    assert made["applications"][2]["args"]["settings"] == {"max_replicas": 4}


@pytest.mark.parametrize(
    ("where", "key", "value", "message"),
    [
        ((), "http_option", {}, "http_options"),
        (("http_options",), "prot", 1, "port"),
        (("applications", 1), "import_pth", "a:b", "import_path"),
        (("applications", 1), "deployments", [{"name": "x", "max_queud_requests": 1}], "max_queued_requests"),
        (
            ("applications", 1),
            "deployments",
            [{"name": "x", "autoscaling_config": {"target_ongoing": 1}}],
            "target_ongoing_requests",
        ),
        (("applications", 1, "args"), "artefact", "x", "artefact"),
        (("applications", 1, "args"), "settings", {"max_batch": 1}, "max_batch"),
        (("applications", 1, "args"), "settings", {"cpus": 0}, "cpus"),
        (("applications", 1), "route_prefix", "/elsewhere", "/models/a"),
        (("applications", 1), "name", "b", "name must be 'a'"),
        (("http_options",), "port", "x", "port"),
    ],
)
def test_mistakes_are_named(where: tuple[Any, ...], key: str, value: Any, message: str) -> None:
    made = copy.deepcopy(config.config_for({"a": "/models/a"}))
    place: Any = made
    for step in where:
        place = place[step]
    place[key] = value
    with pytest.raises(RecipeError, match=message):
        config.check_config(made)


def test_no_yaml(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="cannot be read"):
        config.read_config(tmp_path / "none.yaml")
    (tmp_path / "list.yaml").write_text("[1]")
    with pytest.raises(RecipeError, match="mapping"):
        config.read_config(tmp_path / "list.yaml")


def test_settings_of_the_artifact_and_of_the_caller() -> None:
    assert app.merged({"timeout_s": 5, "max_replicas": 3}, {"max_replicas": 4}) == Serve(timeout_s=5, max_replicas=4)
    with pytest.raises(RecipeError, match="max_replica"):
        app.merged({}, {"max_replica": 4})


def test_replicas() -> None:
    assert app.options(Serve(min_replicas=2, max_replicas=2), {}, "openvino")["num_replicas"] == 2
    scaling = app.options(Serve(min_replicas=0, max_replicas=3), {}, "openvino")["autoscaling_config"]
    assert (scaling["min_replicas"], scaling["initial_replicas"], scaling["max_replicas"]) == (0, 1, 3)


def test_a_slow_start_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray gives its proxies a minute; a busy machine takes longer, and they come all the same."""
    started: list[dict[str, Any]] = []
    waited: list[tuple[str, float]] = []

    def start(**how: Any) -> None:
        started.append(how)
        if len(started) == 1:
            raise TimeoutError

    monkeypatch.setattr(config.ray, "is_initialized", lambda: True)
    monkeypatch.setattr(config.serve, "start", start)
    monkeypatch.setattr(config, "base_url", lambda: "http://127.0.0.1:1")
    monkeypatch.setattr(config, "_wait_for_route", lambda url, timeout_s: waited.append((url, timeout_s)))
    config.start()
    assert started[0] == started[1]
    assert waited == [("http://127.0.0.1:1/-", config.PROXY_TIMEOUT_S)]


def test_bad_artifacts_never_reach_the_cluster(text_artifact: Path, tmp_path: Path) -> None:
    import shutil

    with pytest.raises(ArtifactError):
        config.deploy(tmp_path, "a")
    copied = Path(shutil.copytree(text_artifact, tmp_path / "copy"))
    (copied / "model" / "extra.json").write_text("{}")
    with pytest.raises(ArtifactCorrupt):
        config.deploy(copied, "a")


@pytest.mark.cluster
def test_replace_and_take_off(service: str, text_artifact: Path) -> None:
    assert set(config.status().values()) == {"RUNNING"}
    with pytest.raises(NotFound, match="texts"):
        config.undeploy("nothing")
    url = config.deploy(text_artifact, "passing")
    assert url == f"{service}/models/passing"
    config.undeploy("passing")
    assert "passing" not in config.status()
