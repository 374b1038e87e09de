"""Everything under cluster/ is checked offline, as strictly as Ray and Kubernetes should and do not."""

from __future__ import annotations

import copy
import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray
import yaml

from bigray.cli.main import VERBS
from bigray.errors import RecipeError
from bigray.serve.config import check_config
from tests.cluster.kuberay_schema import SCHEMAS

ROOT = Path(__file__).parents[2]
CLUSTER = ROOT / "cluster"
LAUNCHERS = sorted(CLUSTER.glob("*.yaml"))
MANIFESTS = sorted((CLUSTER / "kuberay").glob("*.yaml"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NEEDS = PROJECT["optional-dependencies"]["all"]
RAY_PIN = next(re.search(r"==([\d.]+)\.\*", name)[1] for name in NEEDS if name.startswith("ray["))  # type: ignore[index]


Validator = jsonschema.Draft202012Validator


def load(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(path.read_text())
    return content


def ids(path: Path) -> str:
    return path.name


def clusters() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in MANIFESTS:
        spec = load(path)["spec"]
        found = spec.get("rayClusterSpec") or spec.get("rayClusterConfig") or spec
        if "headGroupSpec" in found:
            yield path.name, found


def test_all_is_here() -> None:
    assert [path.stem for path in LAUNCHERS] == ["aws", "gcp", "on-premise"]
    assert [path.stem for path in MANIFESTS] == ["raycluster", "rayjob", "rayservice", "storage"]
    data = {".yaml", ".yml", ".json", ""}
    assert {path.suffix for path in CLUSTER.rglob("*") if path.is_file()} <= data  # no code here


# ray up


@pytest.mark.parametrize("path", LAUNCHERS, ids=ids)
def test_ray_accepts_the_launcher_file(path: Path) -> None:
    launcher = pytest.importorskip("ray.autoscaler._private.util", reason="a private module of Ray")
    launcher.validate_config(launcher.prepare_config(load(path)))
    schema = json.loads((Path(ray.__file__).parent / "autoscaler" / "ray-schema.json").read_text())
    jsonschema.validate(load(path), schema)


@pytest.mark.parametrize("path", LAUNCHERS, ids=ids)
def test_ray_finds_a_typo_in_the_launcher_file(path: Path) -> None:
    launcher = pytest.importorskip("ray.autoscaler._private.util", reason="a private module of Ray")
    with pytest.raises(jsonschema.ValidationError, match="max_worker"):
        launcher.validate_config(launcher.prepare_config({**load(path), "max_worker": 3}))


@pytest.mark.parametrize("path", LAUNCHERS, ids=ids)
def test_launchers_start_ray_safely(path: Path) -> None:
    config = load(path)
    head, worker = config["head_start_ray_commands"][-1], config["worker_start_ray_commands"][-1]
    for command in (head, worker):
        assert "RAY_AUTH_MODE=token" in command
        assert "RAY_USAGE_STATS_ENABLED=0" in command
        assert "--metrics-export-port=8090" in command
        _options_exist(command)
    assert "--dashboard-host=127.0.0.1" in head
    assert "--num-cpus=0" in head
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert any("/shared" in command and "mount" in command for command in config["setup_commands"])
    assert any(f'"ray[default]=={RAY_PIN}.' in command for command in config["setup_commands"])
    assert f"ray up cluster/{path.name}" in path.read_text()


def _options_exist(command: str) -> None:
    from ray.scripts.scripts import start

    known = {name for option in start.params for name in option.opts}
    words = shlex.split(command.split("ray start", 1)[1])
    assert {word.split("=")[0] for word in words} <= known


# Kubernetes


@pytest.mark.parametrize("path", MANIFESTS, ids=ids)
def test_manifest_follows_the_schema(path: Path) -> None:
    manifest = load(path)
    jsonschema.validate(manifest, SCHEMAS[manifest["kind"]], cls=Validator)
    assert f"cluster/kuberay/{path.name}" in path.read_text()  # the comment says how it is applied


@pytest.mark.parametrize("path", MANIFESTS, ids=ids)
def test_a_typo_is_found_at_every_depth(path: Path) -> None:
    manifest = load(path)
    places = [place for place in _places(manifest) if not _is_free(place)]
    assert len(places) > 3
    validator = Validator(SCHEMAS[manifest["kind"]])
    for place in places:
        wrong = copy.deepcopy(manifest)
        node = wrong
        for key in place:
            node = node[key]
        node["typo"] = node.pop(next(iter(node)))
        assert not validator.is_valid(wrong), place


def _places(node: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(node, dict):
        yield place
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in children:
        yield from _places(child, (*place, key))


def _is_free(place: tuple[Any, ...]) -> bool:
    return bool(place) and place[-1] == "rayStartParams"  # the flags of `ray start`, checked on their own


@pytest.mark.parametrize(("name", "spec"), clusters(), ids=lambda value: value if isinstance(value, str) else "")
def test_pods_are_safe_and_sized(name: str, spec: dict[str, Any]) -> None:
    assert spec["rayVersion"].startswith(f"{RAY_PIN}.")
    assert spec["authOptions"]["mode"] == "token"
    assert spec["enableInTreeAutoscaling"] is True
    assert spec["autoscalerOptions"]["version"] == "v2"
    head, workers = spec["headGroupSpec"], spec["workerGroupSpecs"]
    assert head["rayStartParams"]["num-cpus"] == "0"
    claim = load(CLUSTER / "kuberay" / "storage.yaml")["metadata"]["name"]
    for group in [head, *workers]:
        _options_exist("ray start " + " ".join(f"--{key}={value}" for key, value in group["rayStartParams"].items()))
        pod = group["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        assert volumes["shared"]["persistentVolumeClaim"] == {"claimName": claim}
        for container in pod["containers"]:
            assert container["image"].endswith(f"/bigray:{PROJECT['version']}")
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["requests"] == container["resources"]["limits"]
            assert container["readinessProbe"]
            assert container["livenessProbe"]
            assert {"name": "shared", "mountPath": "/shared"} in container["volumeMounts"]
            assert {mount["name"] for mount in container["volumeMounts"]} == set(volumes)
            assert {"containerPort": 8090, "name": "metrics"} in container["ports"]
    for group in workers:
        assert group["minReplicas"] <= group["maxReplicas"]
        assert group["template"]["spec"]["automountServiceAccountToken"] is False


def test_service_serves_what_bigray_would() -> None:
    spec = load(CLUSTER / "kuberay" / "rayservice.yaml")["spec"]
    config = yaml.safe_load(spec["serveConfigV2"])
    check_config(config)
    assert {app["import_path"] for app in config["applications"]} == {
        "bigray.serve.app:build",
        "bigray.serve.app:index",
    }
    assert config["http_options"]["host"] == "0.0.0.0"  # a pod's loopback cannot be reached by its service
    wrong = copy.deepcopy(config)
    wrong["applications"][-1]["route_prefx"] = "/"
    with pytest.raises(RecipeError, match=r"route_prefx.*Did you mean 'route_prefix'"):
        check_config(wrong)


def test_job_runs_a_verb_that_exists() -> None:
    words = shlex.split(load(CLUSTER / "kuberay" / "rayjob.yaml")["spec"]["entrypoint"])
    assert words[:3] == ["python", "-m", "bigray.cli.main"]
    assert words[3] in VERBS
    assert "output=/shared/runs" in words


# the image


def dockerfile() -> list[tuple[str, str]]:
    text = re.sub(r"\\\n\s*", " ", (CLUSTER / "Dockerfile").read_text())
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1].strip()) for line in lines]


def test_image_is_pinned_and_runs_as_an_ordinary_user() -> None:
    steps = dockerfile()
    base = [value for verb, value in steps if verb == "FROM"]
    assert len(base) == 1
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+(@sha256:[0-9a-f]{64})?", base[0])
    minor = int(base[0].split(".")[1])
    assert PROJECT["requires-python"] == ">=3.11,<3.14"
    assert 11 <= minor < 14
    users = [value for verb, value in steps if verb == "USER"]
    assert users == ["1000:1000"]
    assert [verb for verb, _ in steps].index("USER") > max(i for i, (verb, _) in enumerate(steps) if verb == "RUN")
    assert not {verb for verb, _ in steps} & {"ADD", "ONBUILD"}


def test_image_takes_what_exists_and_pins_ray_as_the_project_does() -> None:
    steps = dockerfile()
    for value in (value for verb, value in steps if verb == "COPY"):
        for source in shlex.split(value)[:-1]:
            assert (ROOT / source).exists(), source
    versions = [value.split("=")[1] for verb, value in steps if verb == "ARG" and value.startswith("RAY_VERSION")]
    assert versions == [spec["rayVersion"] for _, spec in clusters()][:1]
    assert versions[0].startswith(f"{RAY_PIN}.")
    environment = " ".join(value for verb, value in steps if verb == "ENV")
    assert "RAY_AUTH_MODE=token" in environment
    assert "RAY_USAGE_STATS_ENABLED=0" in environment


def test_no_secret_lies_here() -> None:
    looks_secret = re.compile(
        r"AKIA[0-9A-Z]{16}|BEGIN [A-Z ]*PRIVATE KEY|(password|auth_token)\s*[:=]\s*['\"]?[A-Za-z0-9]{12,}"
    )
    for path in CLUSTER.rglob("*"):
        if path.is_file():
            assert not looks_secret.search(path.read_text()), path


# monitoring


def test_prometheus_watches_rays_nodes() -> None:
    config = load(CLUSTER / "monitoring" / "prometheus.yml")
    (job,) = config["scrape_configs"]
    assert job["file_sd_configs"][0]["files"][0].endswith("prom_metrics_service_discovery.json")
    for name in config["rule_files"]:
        assert (CLUSTER / "monitoring" / name).exists()


def test_expressions_name_series_that_bigray_scrapes() -> None:
    rules = load(CLUSTER / "monitoring" / "alerts.yml")["groups"][0]["rules"]
    board = json.loads((CLUSTER / "monitoring" / "grafana.json").read_text())
    expressions = [rule["expr"] for rule in rules]
    expressions += [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    for expression in expressions:
        assert expression.count("(") == expression.count(")")
        assert re.search(r"\bray_\w+|\bup\{", expression)
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
