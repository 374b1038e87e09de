"""What goes over the wire, per task: the parameters a caller may send and the answer a caller gets.

The shapes are those of the Hugging Face inference tasks, so that ``huggingface_hub.InferenceClient`` reads them
unmodified. Source: https://huggingface.co/docs/inference-providers/tasks/index. The service and the client both use
this file; it imports neither torch nor ray.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, TypeAdapter, WithJsonSchema

Finite = Annotated[float, Field(allow_inf_nan=False)]


def _from_base64(value: Any) -> Any:
    return base64.b64decode(value, validate=True) if isinstance(value, str) else value


File = Annotated[
    bytes,
    BeforeValidator(_from_base64),
    PlainSerializer(lambda data: base64.b64encode(data).decode(), return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "contentEncoding": "base64"}),
]
"""The bytes of a file; base64 in JSON."""


class Wire(BaseModel):
    """Strict and closed: no silent conversions, no unknown fields."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)


class Label(Wire):
    """A class and how sure the model is of it."""

    label: str
    score: Finite
    """Probability (or raw score when ``function_to_apply`` is ``none``)."""


class Box(Wire):
    """Corners in pixels of the original image; x to the right, y down, from the top left corner."""

    xmin: Finite
    ymin: Finite
    xmax: Finite
    ymax: Finite


class Detection(Wire):
    """One object found in an image."""

    label: str
    score: Finite
    box: Box


class Question(Wire):
    """What question answering is asked: one input of two fields."""

    question: str
    context: str
    """The text that holds the answer."""


class Answer(Wire):
    """A stretch of the context: ``context[start:end] == answer``; empty at 0 when the context holds no answer."""

    answer: str
    score: Finite
    """Probability of this stretch among all that were considered."""
    start: int
    end: int
    """Characters (Unicode code points) of the context as it was sent; ``end`` is past the last one."""


class Translation(Wire):
    """A text in the other language."""

    translation_text: str


class Summary(Wire):
    """What matters of a text."""

    summary_text: str


class Chunk(Wire):
    """A stretch of speech."""

    text: str
    timestamp: tuple[Finite, Finite]
    """Start and end in seconds."""


class Transcript(Wire):
    """What was said."""

    text: str
    chunks: list[Chunk] | None = None
    """Present when ``return_timestamps`` was asked for."""


class Speech(Wire):
    """A text, spoken."""

    audio: File
    """A WAV file, 16 bits, mono."""
    sampling_rate: int
    """Samples per second."""


class Recognition(Wire):
    """A voice or a face as a vector, and how it compares with those that were sent along."""

    embedding: list[Finite]
    """Of length 1; the cosine of two is their scalar product."""
    threshold: Finite | None = None
    """Cosine that decided, when something was compared."""
    score: Finite | None = None
    """Cosine to the ``reference``, -1 to 1."""
    verified: bool | None = None
    """Whether that reaches the threshold: the same person."""
    matches: list[Label] | None = None
    """Names of the ``gallery`` whose cosine (``score``) reaches the threshold, best first; none is a stranger."""


class ClassificationParameters(Wire):
    """Settings of text and image classification."""

    function_to_apply: Literal["softmax", "sigmoid", "none"] | None = None
    """Function from raw scores to scores; by default what the model was trained with."""
    top_k: int | None = Field(None, ge=1, le=10_000)
    """Labels returned, best first; by default all for text and 5 for images."""


class DetectionParameters(Wire):
    """Settings of object detection."""

    threshold: Finite = Field(0.5, ge=0, le=1)
    """Objects below this score are left out."""


class QuestionAnsweringParameters(Wire):
    """Settings of question answering; what is not given is as the model was trained."""

    top_k: int | None = Field(None, ge=1, le=1000)
    """Answers returned, best first, as a list; without it (or with 1) the best one alone."""
    max_answer_len: int | None = Field(None, ge=1, le=1000)
    """Longest answer, in tokens."""
    handle_impossible_answer: bool | None = None
    """Whether "the context holds no answer" may be the answer."""
    align_to_words: bool | None = None
    """Whether an answer is widened to whole words; by default yes."""
    doc_stride: int | None = Field(None, ge=0, le=100_000)
    """Tokens by which the windows of a long context overlap."""
    max_question_len: int | None = Field(None, ge=1, le=1000)
    """Tokens of the question that are read."""
    max_seq_len: int | None = Field(None, ge=16, le=100_000)
    """Tokens of one window, question included; at most what the model can take."""


class GenerateParameters(Wire):
    """How a text is written; what is not given is as the model's recipe says."""

    num_beams: int | None = Field(None, ge=1, le=16)
    """Beginnings kept side by side; 1 takes the likeliest token each time."""
    max_new_tokens: int | None = Field(None, ge=1, le=100_000)
    """Longest answer to one piece of the text, in tokens."""
    length_penalty: Finite | None = Field(None, ge=-10, le=10)
    """Over 0 favours longer answers; needs more than one beam."""
    no_repeat_ngram_size: int | None = Field(None, ge=0, le=10)
    """Runs of so many tokens occur once; 0: no limit."""


class TextToTextParameters(Wire):
    """Settings of translation and summarization."""

    generate_parameters: GenerateParameters = GenerateParameters()
    truncation: Literal["do_not_truncate", "longest_first", "only_first", "only_second"] | None = None
    """A text longer than the window is read in pieces; any choice but ``do_not_truncate`` reads only the first."""
    clean_up_tokenization_spaces: bool | None = None
    """Taken and without effect: texts come out clean."""


class TranscriptionParameters(Wire):
    """Settings of speech recognition."""

    return_timestamps: bool = False
    """Also return when each word was said."""


class SpeechParameters(Wire):
    """Settings of text to speech."""

    speed: Finite | None = Field(None, ge=0.25, le=4)
    """How many times faster than the voice speaks by itself."""
    vocoder_rounds: int | None = Field(None, ge=0, le=500)
    """Rounds of Griffin-Lim, where the model has no vocoder of its own; fewer are quicker and sound rougher."""


class RecognitionParameters(Wire):
    """Settings of speaker and face recognition. Without any, the answer is the embedding alone."""

    reference: list[Finite] | list[list[Finite]] | None = None
    """Verify: the embedding of the person claimed, or several of that person's, whose mean counts."""
    gallery: dict[str, list[list[Finite]]] | None = None
    """Identify: name -> embeddings of that person, whose mean counts. It is not kept."""
    false_accept_rate: Finite | None = Field(None, gt=0, lt=1)
    """Share of strangers that may pass a verification; the model knows a threshold for some rates. By default 0.01."""
    threshold: Finite | None = Field(None, ge=-1, le=1)
    """Cosine that decides, instead of that of a rate."""
    top_k: int | None = Field(None, ge=1, le=10_000)
    """Matches at most; by default 5."""


@dataclass(frozen=True)
class Contract:
    """The wire form of one task."""

    task: str
    field: Literal["text", "image", "audio"]
    """What one input is; also the name of the row's field that holds it, unless ``input`` names several."""
    parameters: type[Wire]
    output: TypeAdapter[Any]
    """Checks and serialises the answer for one input."""
    nested: bool = False
    """Whether the answer to a single input stands in a list of one, as the Hugging Face clients read it."""
    input: type[Wire] | None = None
    """Form of an input of several fields, all of the kind ``field``; each is a field of the row."""
    file: tuple[str, str] | None = None
    """Where an answer is a file: the field of the output that holds its bytes, and their media type."""

    @property
    def fields(self) -> tuple[str, ...]:
        """The row's fields that hold one input."""
        return tuple(self.input.model_fields) if self.input else (self.field,)


CONTRACTS: dict[str, Contract] = {
    contract.task: contract
    for contract in (
        Contract("text_classification", "text", ClassificationParameters, TypeAdapter(list[Label]), nested=True),
        Contract(
            "question_answering",
            "text",
            QuestionAnsweringParameters,
            TypeAdapter(Answer | list[Answer]),
            input=Question,
        ),
        Contract("translation", "text", TextToTextParameters, TypeAdapter(Translation), nested=True),
        Contract("summarization", "text", TextToTextParameters, TypeAdapter(Summary), nested=True),
        Contract("image_classification", "image", ClassificationParameters, TypeAdapter(list[Label])),
        Contract("object_detection", "image", DetectionParameters, TypeAdapter(list[Detection])),
        Contract("automatic_speech_recognition", "audio", TranscriptionParameters, TypeAdapter(Transcript)),
        Contract("text_to_speech", "text", SpeechParameters, TypeAdapter(Speech), file=("audio", "audio/wav")),
        Contract("speaker_recognition", "audio", RecognitionParameters, TypeAdapter(Recognition)),
        Contract("face_recognition", "image", RecognitionParameters, TypeAdapter(Recognition)),
    )
}
