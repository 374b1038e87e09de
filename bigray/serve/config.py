"""Puts models on Ray Serve, takes them off, and writes and checks Serve YAML files."""

from __future__ import annotations

import difflib
import os
import time
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import ray
import yaml
from pydantic import BaseModel, ValidationError
from ray import serve
from ray.serve.config import ControllerOptions, HTTPOptions
from ray.serve.schema import ServeDeploySchema

from bigray.artifact import Artifact
from bigray.errors import NotFound, RecipeError, ServiceError
from bigray.recipe import Serve
from bigray.serve import ingress, link, rollouts
from bigray.serve.app import IndexArgs, ServeArgs, build, index, merged
from bigray.serve.index import APPLICATION, RUNS
from bigray.serve.listen import LOCAL, Listen
from bigray.serve.versions import keep, version_of

ROUTE_TIMEOUT_S, PROXY_TIMEOUT_S = 15.0, 120.0


def deploy(
    artifact: str | Path,
    name: str,
    *,
    settings: Serve | None = None,
    address: str | None = None,
    listen: Listen = LOCAL,
) -> str:
    """Serve an artifact and return its URL once it answers; a model of that name is replaced without a gap.

    Args:
        artifact: Folder of the artifact, at a path that all nodes see.
        name: Name in the URL.
        settings: Replicas, queues and batches; by default those of the recipe in the artifact.
        address: Ray cluster to join; by default the one this process is in, else a running one, else a new local one.
        listen: Where to listen and whom to let in, when Serve does not run yet.

    Raises:
        UserError: ``unsafe_exposure``, see `Listen.check`.
        ArtifactError, ArtifactCorrupt: Found before anything is started.
        ServiceError: The model did not become ready.
    """
    return deploy_all({name: artifact}, settings=settings, address=address, listen=listen)[name]


def deploy_all(
    models: Mapping[str, str | Path],
    *,
    settings: Serve | None = None,
    address: str | None = None,
    listen: Listen = LOCAL,
) -> dict[str, str]:
    """Serve several artifacts (name -> folder), started side by side; return name -> URL. Otherwise as `deploy`."""
    listen.check()
    over = settings.model_dump(mode="json") if settings is not None else {}
    targets = []
    versions = {}
    for name, artifact in models.items():
        folder = Path(artifact).resolve()
        manifest = Artifact.open(folder).manifest
        folder = keep(folder)
        versions[name] = version_of(folder, manifest.name, over)
        application = build(ServeArgs(artifact=str(folder), name=name, settings=over))
        used = merged(manifest.recipe.get("serve") or {}, over)
        ingress.limit(name, used.max_ongoing_requests + used.max_queued_requests)
        targets.append(serve.RunTarget(application, name, f"/models/{name}"))
    start(address=address, listen=listen)
    if APPLICATION not in serve.status().applications:
        runs = Path(os.environ.get(RUNS, "runs")).resolve()  # seen from here: replicas start in folders of their own
        targets.append(serve.RunTarget(index(IndexArgs(runs=str(runs))), APPLICATION, "/"))
    if link.APPLICATION not in serve.status().applications:
        targets.append(rollouts.target(httpx.URL(base_url()).port or 80))
    try:
        serve.run_many(targets)
    except RuntimeError as error:
        raise rollouts.not_ready(versions, error) from error
    for name, version in versions.items():
        rollouts.ask("deployed", name, version)
    urls = {name: f"{base_url()}/models/{name}" for name in models}
    for url in urls.values():
        _wait_for_route(url)
    if listen.keys is not None:
        _check_locked()
    return urls


def _check_locked() -> None:
    # where Serve ran before, it was not started with our keys; better to say so than to be open
    if _get(f"{base_url()}/models").status_code != 401:
        raise ServiceError(
            "Serve runs already and was started without API keys: its models answer everybody. Stop it, then deploy."
        )


def _get(url: str) -> httpx.Response:
    # only ever asked on this machine, where a certificate's name does not fit
    return httpx.get(url, timeout=ROUTE_TIMEOUT_S, verify=False)


def _wait_for_route(url: str, timeout_s: float = ROUTE_TIMEOUT_S) -> None:
    # the proxy hears of a new route a moment after the application runs; until then it answers 404
    until = time.monotonic() + timeout_s
    while True:
        try:
            if _get(f"{url}/healthz").is_success:
                return
        except httpx.TransportError:
            pass
        if time.monotonic() > until:
            raise ServiceError(f"{url} does not answer, although its replicas run. Does another service hold its port?")
        time.sleep(0.1)


def start(*, address: str | None = None, listen: Listen = LOCAL) -> None:
    """Start Serve with bigray's edge before its replicas, or join it where it runs already.

    What takes requests in is Serve's own proxy, unless the environment says HAProxy: see `bigray.serve.ingress`.

    Raises:
        ServiceError: No proxy came up: its port may be taken.
    """
    listen.check()
    if not ray.is_initialized():
        ray.init(address=address, log_to_driver=False)
    how = {
        "proxy_location": "EveryNode",
        "http_options": HTTPOptions(
            host=listen.host,
            port=listen.port,
            ssl_keyfile=str(listen.keyfile.resolve()) if listen.keyfile else None,
            ssl_certfile=str(listen.certfile.resolve()) if listen.certfile else None,
        ),
        "controller_options": ControllerOptions(runtime_env={"env_vars": listen.environment()}),
    }
    try:
        serve.start(**how)
    except TimeoutError:  # after a minute; Serve goes on starting proxies, which a busy machine may need
        serve.start(**how)
        _wait_for_route(f"{base_url()}/-", PROXY_TIMEOUT_S)


def undeploy(name: str) -> None:
    """Take a model off.

    Raises:
        NotFound: It is not there.
    """
    running = status()
    if name not in running:
        raise NotFound(f"There is no model {name!r} to take off. Running: {', '.join(running) or 'none'}.")
    serve.delete(name)
    rollouts.taken_off(name)


def status() -> dict[str, str]:
    """Return name -> status (``RUNNING``, ``DEPLOYING``, ``DEPLOY_FAILED``, ...) of every model."""
    found = serve.status().applications
    return {name: app.status.value for name, app in sorted(found.items()) if not name.startswith("_")}


def base_url() -> str:
    """Return the address of the proxy on this machine."""
    from ray.serve.context import _get_global_client  # where Serve keeps the port that it really took

    http = _get_global_client().http_config
    host = "127.0.0.1" if http.host in {"0.0.0.0", "::", None} else http.host
    return f"{'https' if http.ssl_certfile else 'http'}://{f'[{host}]' if ':' in host else host}:{http.port}"


def config_for(
    models: dict[str, str], *, settings: dict[str, dict[str, Any]] | None = None, listen: Listen = LOCAL
) -> dict[str, Any]:
    """Return a Serve config (for ``serve deploy`` or KubeRay's serveConfigV2) of models: name -> artifact folder."""
    applications = [_application(APPLICATION, "/", "index", {})]
    for name, artifact in models.items():
        args: dict[str, Any] = {"artifact": artifact, "name": name}
        if over := (settings or {}).get(name):
            args["settings"] = over
        applications.append(_application(name, f"/models/{name}", "build", args))
    config = {
        "proxy_location": "EveryNode",
        "http_options": {"host": listen.host, "port": listen.port},
        "controller_options": {"runtime_env": {"env_vars": listen.environment()}},
        "applications": applications,
    }
    check_config(config)
    return config


def read_config(path: Path) -> dict[str, Any]:
    """Read and check a Serve YAML file.

    Raises:
        RecipeError: As `check_config`.
    """
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise RecipeError(f"{str(path)!r} cannot be read: {error}.") from None
    check_config(config)
    return dict(config)


def check_config(config: Any) -> None:
    """Check a Serve config more strictly than Ray, which takes unknown keys in silence.

    Raises:
        RecipeError: Unknown key (with the nearest known one), wrong value, or a route that is not the model's own.
    """
    if not isinstance(config, dict):
        raise RecipeError("A Serve config is a mapping with applications.")
    _check_keys(config, ServeDeploySchema, "")
    try:
        ServeDeploySchema.model_validate(config)
        for i, application in enumerate(config.get("applications", [])):
            if application.get("import_path") == "bigray.serve.app:build":
                args = ServeArgs.model_validate(application.get("args") or {})
                Serve.model_validate(args.settings)
                if application.get("route_prefix") != f"/models/{args.name}" or application.get("name") != args.name:
                    raise RecipeError(
                        f"applications.{i}: name must be {args.name!r} and route_prefix '/models/{args.name}'.",
                        pointer=f"applications.{i}.route_prefix",
                    )
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RecipeError(f"{where}: {first['msg']}.", pointer=where) from None


def _application(name: str, route: str, builder: str, args: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "route_prefix": route, "import_path": f"bigray.serve.app:{builder}", "args": args}


def _check_keys(value: Any, kind: type[BaseModel], where: str) -> None:
    fields = {field.alias or name: field for name, field in kind.model_fields.items()}
    for key, child in value.items():
        path = f"{where}.{key}".lstrip(".")
        if key not in fields:
            near = difflib.get_close_matches(str(key), fields, n=1)
            guess = f" Did you mean {near[0]!r}?" if near else ""
            raise RecipeError(f"{path}: unknown key.{guess} Known here: {', '.join(sorted(fields))}.", pointer=path)
        inner = _model_in(fields[key].annotation)
        if inner is None:
            continue
        for i, item in enumerate(child if isinstance(child, list) else [child]):
            if isinstance(item, dict):
                _check_keys(item, inner, f"{path}.{i}" if isinstance(child, list) else path)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """Return the pydantic model somewhere inside a type such as ``list[Model] | None``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in typing.get_args(annotation) if (found := _model_in(part))), None)
