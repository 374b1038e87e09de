"""A recipe says everything about a run: data, model, training, compression, serving. One YAML file, frozen once read.

`read` turns YAML text and ``--set a.b=c`` overrides into a `Recipe`: the task's own defaults first, then the file, then
the overrides. Unknown keys are refused with the nearest known one. Whatever needs more than the recipe itself to check
(files, plugin knobs, engines on this machine) is checked by `bigray.pipeline.check`, still before a cluster is touched.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from bigray import plugins, recipe_problems, strict_yaml
from bigray.errors import RecipeError, UnknownPlugin

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
"""Lower-case letters, digits, dot, underscore, dash; 1 to 64 characters. Safe in a URL and as a folder."""


class Section(BaseModel):
    """Frozen settings; an unknown key is an error; the text under each field is its documentation."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        protected_namespaces=(),
    )


def _named(value: Any) -> Any:
    """Let a plain name in a list stand for a mapping with that name."""
    return [{"name": item} if isinstance(item, str) else item for item in value] if isinstance(value, list) else value


class Augmentation(Section):
    """One random change of a training row, applied with a probability."""

    name: str
    """File name in bigray/data/augment, e.g. ``flip``, ``crop``, ``drop_words``, ``add_noise``, ``mask_spectrum``."""
    probability: float = Field(0.5, gt=0, le=1)
    """Chance that a row is changed."""
    options: dict[str, Any] = {}
    """Settings of this augmentation; its docstring lists them with units."""


class Data(Section):
    """Where rows come from and how they are split into train, validation and test."""

    train: str | list[str]
    """File, folder, glob, ``hub:owner/name`` or ``catalogue:name``; a list is joined. Relative to the recipe's folder."""
    validation: str | list[str] | Annotated[float, Field(gt=0, lt=0.5)] = 0.1
    """Source as above, or a fraction held out of train. Picks the best checkpoint and steers the search."""
    test: str | list[str] | Annotated[float, Field(gt=0, lt=0.5)] = 0.1
    """Source as above, or a fraction held out of train. Neither training nor search sees it: it verifies the winner."""
    format: Literal[
        "auto",
        "csv",
        "tsv",
        "jsonl",
        "parquet",
        "image_folder",
        "voc",
        "coco",
        "squad",
        "parallel_text",
        "audio_table",
        "audio_folder",
        "hub",
        "catalogue",
    ] = "auto"
    """How to read the source; ``auto`` goes by the file ending or what a folder holds."""
    header: bool | None = None
    """Whether csv/tsv files start with column names; by default found out from the first line."""
    columns: dict[str, str | int] = {}
    """Field of the task -> column name (or number from 0 where there is no header), e.g. ``{text: sentence}``."""
    options: dict[str, Any] = {}
    """Settings of the reader, e.g. ``subset`` of a hub dataset or ``media_root`` of a table of audio files."""
    labels: list[str] | None = None
    """Label names in order; by default the sorted labels of the training rows."""
    label_names: dict[str, str] = {}
    """Raw label -> name to use, e.g. ``{"0": negative, "1": positive}``."""
    limit: int | None = Field(None, gt=0)
    """Use at most this many training rows (a random, seeded choice)."""
    group_by: str | None = None
    """Field whose values never cross a split (a speaker, a document), so that test measures new ones."""
    augment: list[Augmentation] = []
    """Random changes of training rows, in order; validation and test rows are never changed."""

    @field_validator("augment", mode="before")
    @classmethod
    def _plain_names(cls, value: Any) -> Any:
        return _named(value)


class Model(Section):
    """What is trained: a pretrained network by name or folder, or one of bigray's own from nothing."""

    source: Literal["bigray", "transformers", "torchvision", "torchaudio"] = "bigray"
    """Library the architecture comes from."""
    name: str = "auto"
    """Own architecture (``ffnn``, ``rnn``, ``cnn``, ``lenet``, ``transformer``, ``detector``), or hub name, local folder or torchvision name."""
    weights: str | None = None
    """Local weight file (safetensors, or a torch state dict read with ``weights_only``) to start from; or one of an
    installed package, ``package:NAME/FILE``."""
    options: dict[str, Any] = {}
    """Settings of the architecture, e.g. ``width``, ``depth``, ``dropout``; its docstring lists them."""
    input: dict[str, Any] = {}
    """Settings of the task's encoder, e.g. ``max_length`` (tokens), ``image_size`` (pixels), ``sample_rate`` (Hz)."""


class Train(Section):
    """How the dense model is trained, on how many workers."""

    epochs: int = Field(3, ge=0, le=10_000)
    """Passes over the training rows; 0 keeps the weights as loaded."""
    batch_size: int = Field(32, gt=0)
    """Rows per optimizer step over all workers together."""
    group_by_length: bool = False
    """Batches hold rows of about one length: less padding to compute where lengths differ much."""
    learning_rate: float = Field(1e-3, gt=0)
    """Peak learning rate for a batch of ``batch_size`` rows, reached after warm-up."""
    schedule: Literal["constant", "linear", "cosine", "one_cycle"] = "cosine"
    """Shape of the learning rate after warm-up; all but ``constant`` end near 0."""
    warmup: float = Field(0.1, ge=0, lt=1)
    """Fraction of all steps during which the learning rate rises from 0."""
    optimizer: Literal["adamw", "sgd"] = "adamw"
    """AdamW (arXiv 1711.05101) or SGD with Nesterov momentum."""
    weight_decay: float = Field(0.01, ge=0)
    """Decoupled weight decay; not applied to biases and norms."""
    label_smoothing: float = Field(0.0, ge=0, lt=0.5)
    """Probability mass spread over wrong classes (arXiv 1512.00567); classification only."""
    clip_norm: float = Field(1.0, gt=0)
    """Largest global norm of the gradient."""
    freeze: list[str] = []
    """Name prefixes of parameters that stay as loaded."""
    workers: int = Field(1, ge=1, le=4096)
    """Data-parallel training processes (DDP)."""
    cpus_per_worker: float = Field(1, gt=0)
    """CPU cores, and compute threads, of each worker."""
    gpu: bool = False
    """One GPU per worker."""
    precision: Literal["float32", "bfloat16", "auto"] = "float32"
    """Type of the forward and backward pass; weights stay float32. ``auto``: bfloat16 where the processor has it."""
    max_failures: int = Field(3, ge=-1)
    """Times a lost worker group is restarted from its last checkpoint; -1 is for ever."""
    max_minutes: float | None = Field(None, gt=0)
    """Training stops after the epoch in which this wall time is passed; the schedule is planned for ``epochs``."""
    keep_checkpoints: int = Field(2, ge=1)
    """Checkpoints kept, best first; the last one is always among them."""


class Method(Section):
    """One compression method and what the search may do with its knobs."""

    name: str
    """File name in bigray/compress/methods, e.g. ``prune_structured`` or ``quantize_static``."""
    knobs: dict[str, Any] = {}
    """Knob -> fixed value, ``[low, high]`` range or list of choices; knobs left out are searched in their own range."""


class Compress(Section):
    """What may be done to the model, how long to look, and what it may cost."""

    enabled: bool = True
    """False hands out the dense model."""
    max_drop: float = Field(1.0, ge=0, le=100)
    """Largest loss of the primary metric, in ``max_drop_unit``."""
    max_drop_unit: Literal["points", "percent"] = "points"
    """``points``: absolute, 1 point is 0.01 of accuracy, mAP or word error rate; ``percent``: of the dense model's metric."""
    p95_ms: float | None = Field(None, gt=0)
    """Longest 95th percentile of latency at the first of ``batch_sizes``, in ms, on the machine that measures."""
    size_mb: float | None = Field(None, gt=0)
    """Largest size of the model's files, in MB (10^6 bytes)."""
    memory_mb: float | None = Field(None, gt=0)
    """Largest memory of a process that serves the model alone (peak resident set), in MB (10^6 bytes)."""
    force: bool = False
    """Hand out the nearest candidate, marked as not qualified, when nothing keeps the budget."""
    methods: list[Method] = [
        Method(name="prune_structured"),
        Method(name="quantize_static"),
        Method(name="quantize_dynamic"),
    ]
    """Methods the search may combine; a plain name stands for one with all its knobs free."""
    engines: list[str] = ["openvino", "onnxruntime"]
    """Runtimes the search may export to; each is compared with the dense model in torch_eager, torch_gpu with it on the GPU."""
    trials: int = Field(12, ge=1, le=100_000)
    """Candidates tried."""
    concurrency: int | None = Field(None, ge=1)
    """Trials at once; by default one per two cores of the cluster, as measuring needs quiet cores, or per as many as
    ``train`` takes."""
    max_minutes: float | None = Field(None, gt=0)
    """No new trial starts after this wall time."""
    recover_epochs: float = Field(1.0, ge=0)
    """Passes over the training rows (a fraction is allowed) that win quality back after pruning, with distillation; on as
    many workers, and on GPUs, as ``train`` says."""
    recover_learning_rate: float | None = Field(None, gt=0)
    """Peak learning rate of recovery; by default half of ``train.learning_rate``, as it begins close to a good place, and 1e-5
    where ``train.epochs`` is 0."""
    augment: list[Augmentation] = []
    """Random changes of training rows while quality is won back, after those of ``data.augment``. The dense model alone
    says then what is right, as labels may be true no more; so they may change more than those of training."""
    calibration_rows: int = Field(128, ge=8)
    """Training rows that static quantization looks at."""
    evaluation_rows: int = Field(1000, ge=16)
    """Validation rows on which a candidate is scored (a seeded choice when there are more)."""
    sensitivity_rows: int = Field(128, ge=0)
    """Validation rows on which each group of layers is probed before a search that prunes; 0 does without."""
    batch_sizes: list[Annotated[int, Field(ge=1)]] = Field([1], min_length=1)
    """Batch sizes at which latency is measured; a model has to be faster at each, and over all of them one is the fastest."""
    threads: int = Field(1, ge=1)
    """Threads of one inference when latency is measured and served."""

    @field_validator("methods", "augment", mode="before")
    @classmethod
    def _plain_names(cls, value: Any) -> Any:
        return _named(value)

    def budget(self, dense: float) -> float:
        """Return ``max_drop`` in points, for a dense model of this metric."""
        return self.max_drop if self.max_drop_unit == "points" else self.max_drop * abs(dense)


class Serve(Section):
    """How the chosen model answers: replicas, queues and batches."""

    name: Name | None = None
    """Name in the URL ``/models/NAME``; by default the recipe's own."""
    min_replicas: int = Field(1, ge=0)
    """Replicas kept with no traffic."""
    max_replicas: int = Field(2, ge=1)
    """Replicas at most."""
    p95_ms: float | None = Field(None, gt=0)
    """Longest time in the service for 95 of 100 requests, without network; replicas are added to keep it."""
    target_ongoing_requests: float | None = Field(None, gt=0)
    """Requests in progress per replica that autoscaling aims at; by default what keeps ``p95_ms``, without one 4."""
    max_ongoing_requests: int = Field(64, ge=1)
    """Requests one replica takes in at once; at least ``max_batch_size``."""
    max_queued_requests: int = Field(256, ge=1)
    """Requests waiting before new ones are refused with 503."""
    max_batch_size: int = Field(16, ge=1)
    """Items in one inference at most."""
    max_batch_bytes: int = Field(16 * 2**20, ge=1)
    """Size of one inference at most, its padding included: items times the bytes of the largest. One item always may."""
    target_batch_ms: float = Field(200.0, gt=0)
    """Time that one inference may take, going by earlier ones; fewer items share one where it would take longer."""
    batch_wait_ms: float = Field(2.0, ge=0)
    """Longest wait for a batch to fill."""
    timeout_s: float = Field(60.0, gt=0)
    """Longest time for one request; then 504."""
    cpus: float = Field(1, gt=0)
    """Cores of one replica; the engine uses as many threads (at least 1)."""
    gpus: float = Field(1.0, gt=0)
    """GPUs of one replica, of a model whose engine runs on one (torch_gpu); a share lets several use the same."""
    max_body_bytes: int = Field(10 * 2**20, ge=1024)
    """Largest request body."""
    max_audio_s: float = Field(600.0, gt=0, le=6 * 3600)
    """Longest recording to transcribe, in seconds; for longer ones raise ``max_body_bytes`` and ``timeout_s``, too."""

    @model_validator(mode="after")
    def _consistent(self) -> Serve:
        if self.max_replicas < max(1, self.min_replicas):
            raise ValueError(f"max_replicas is {self.max_replicas}, below min_replicas {self.min_replicas}")
        if self.p95_ms is not None and self.target_ongoing_requests is not None:
            raise ValueError(
                "p95_ms and target_ongoing_requests say the same in two ways; state one, the other as null"
            )
        if self.max_ongoing_requests < self.max_batch_size:
            raise ValueError(
                f"max_ongoing_requests is {self.max_ongoing_requests}, below max_batch_size {self.max_batch_size}: "
                "batches could never fill"
            )
        return self


class Recipe(Section):
    """One run, from data to endpoint."""

    name: Name
    """Name of the run, of its folder under ``output`` and, unless serve.name says otherwise, of the endpoint."""
    task: str
    """File name in bigray/tasks, e.g. ``text_classification``."""
    seed: int = Field(0, ge=0)
    """Seed of splits, initial weights, row order, augmentation and search."""
    output: str = "runs"
    """Folder for results; on a cluster of several nodes it must be shared between them."""
    data: Data
    model: Model = Model()
    train: Train = Train()
    compress: Compress = Compress()
    serve: Serve = Serve()

    @field_validator("task")
    @classmethod
    def _known_task(cls, value: str) -> str:
        try:
            return plugins.check("bigray.tasks", value)
        except UnknownPlugin as error:
            raise ValueError(error.detail) from None

    @property
    def endpoint(self) -> str:
        """Name of the model in URLs."""
        return self.serve.name or self.name


def read(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe by path, or a shipped one by name; ``overrides`` are ``a.b=value`` with the value in YAML.

    Raises:
        RecipeError: No such file, not YAML, unknown key, wrong type or value; each names its field.
    """
    file = locate(path)
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        near = difflib.get_close_matches(str(path), shipped(), n=1)
        guess = f"Did you mean {near[0]!r}? " if near else ""
        raise RecipeError(
            f"Cannot read the recipe {str(path)!r}: {reason}. {guess}"
            f"Give the path of a YAML file, or the name of a shipped recipe: {', '.join(shipped())}."
        ) from None
    return parse(text, overrides, base=file.parent)


def shipped() -> list[str]:
    """Return the names of the recipes that come with bigray."""
    return sorted(file.name.removesuffix(".yaml") for file in _SHIPPED.glob("*.yaml"))


def parse(text: str, overrides: Sequence[str] = (), base: Path | None = None) -> Recipe:
    """Turn YAML text into a checked `Recipe`.

    Data paths in the text are relative to ``base``, those in overrides to the current folder; both become absolute.
    """
    raw = strict_yaml.load(text)
    for override in overrides:
        strict_yaml.assign(raw, override)
    given = {key: value for key, value in raw.items() if value is not None}  # a section with all lines commented out
    try:
        recipe = Recipe.model_validate(strict_yaml.merge(_task_defaults(given.get("task")), given))
    except ValidationError as error:
        raise recipe_problems.explain(error, Recipe) from None
    if base is None:
        return recipe
    here = {override.partition("=")[0].strip() for override in overrides}
    places = {key: Path.cwd() if f"data.{key}" in here else base for key in ("train", "validation", "test")}
    return _resolve(recipe, places)


def schema() -> dict[str, Any]:
    """Return the JSON schema of a recipe, for editors."""
    return Recipe.model_json_schema()


def dump(recipe: Recipe) -> str:
    """Return the recipe as YAML, every default written out."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


_SHIPPED = Path(__file__).parent / "recipes"


def locate(path: str | Path) -> Path:
    """Return the file of a recipe given by path, or of a shipped one given by name; it need not exist."""
    own = _SHIPPED / f"{path}.yaml"
    return own if not Path(path).exists() and str(path) in shipped() else Path(path)


def _task_defaults(task: Any) -> dict[str, Any]:
    if not isinstance(task, str) or task not in plugins.names("bigray.tasks"):
        return {}  # the validation of `task` says it better
    defaults: dict[str, Any] = importlib.import_module(f"bigray.tasks.{task}").TASK.defaults
    return defaults


def _resolve(recipe: Recipe, places: Mapping[str, Path]) -> Recipe:
    def path(value: Any, base: Path) -> Any:
        if isinstance(value, list):
            return [path(item, base) for item in value]
        if not isinstance(value, str) or "://" in value or value.startswith(("hub:", "catalogue:", "/", "~")):
            return value
        return str((base / value).resolve())

    update = {key: path(getattr(recipe.data, key), base) for key, base in places.items()}
    return recipe.model_copy(update={"data": recipe.data.model_copy(update=update)})
