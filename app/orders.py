"""What people ask for when data goes in or out: the `args` of the jobs that carry it. Pydantic only."""

from enum import StrEnum
from typing import Annotated, Self
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from app.hparams import TaskHParams
from app.kinds import Split, Verdict

Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00]*\S[^\x00]*$")]


class Order(BaseModel):
    """Frozen; unknown members are refused: a misspelt one must not be ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class RowFormat(StrEnum):
    """What a source of rows is."""

    AUTO = "auto"
    """By the name: .jsonl, .csv, .parquet, a folder, else plain text; a name that is no path is a hub id."""
    JSONL = "jsonl"
    """One JSON string or object per line."""
    JSON = "json"
    """One array of them."""
    CSV = "csv"
    """With a head line."""
    PARQUET = "parquet"
    TEXT = "text"
    """One text per line."""
    FILES = "files"
    """A folder of .txt or .story files, each one text."""
    DATASET = "dataset"
    """A Hugging Face data set: hub id, or folder that `save_to_disk` wrote or that holds data files."""


class Like(StrEnum):
    """A public data set whose columns and cleaning are known, for copies of it under other names too."""

    BOOKS = "books"
    TLDR = "tldr"
    CNNDM = "cnndm"


class Cut(Order):
    """Prompts cut from longer texts by a task's own edges, in the tokens of a model."""

    model: str
    """Base model whose tokenizer counts: hub id or folder that the trainers can reach."""
    task: TaskHParams


class PromptOrder(Order):
    """Prompts in."""

    prompt_set: Name
    source: Name
    """Path, hub id, `books`, `tldr`, `cnndm`, or `upload:...` as the upload was answered."""
    format: RowFormat = RowFormat.AUTO
    like: Like | None = None
    subset: str | None = None
    """Configuration of a hub data set."""
    split: str = "train"
    """Of a data set; the splits of Prefloop do not follow it but a hash of the text."""
    column: str | None = None
    """Where the text is; `text` unless the data set is a known one."""
    reference_column: str | None = None
    """Where a human answer to the prompt is, such as a summary."""
    clean: bool = True
    """Mend broken encodings and blank lines; known data sets lose their bylines and stamps too."""
    cut: Cut | None = None
    limit: Annotated[int, Field(ge=1)] | None = None
    """Rows read at most."""
    keep_good: bool = False
    """Import the good rows where some are bad; otherwise one bad row stops all."""
    dry_run: bool = False
    """Read and count everything, import nothing."""


class LabelOrder(Order):
    """Labels in."""

    source: Name
    """Path, or `upload:...` as the upload was answered. What a record says shows in its keys."""
    tokenizer: str | None = None
    """Made the token ids of the file, if it holds ids: `gpt2` for the published ones; None: the run's own."""
    prompt_set: Name | None = None
    """Where their prompts go; None: into a set named after the file, so that PPO does not draw from them."""
    keep_good: bool = False
    dry_run: bool = False


class LabelFormat(StrEnum):
    """What one record of exported labels is."""

    JSONL = "jsonl"
    """A label with everything known about it, revisions and skips included."""
    PARQUET = "parquet"
    """The same as a Parquet file."""
    BEST_OF_4 = "best_of_4"
    """A usable label: `prompt`, `samples` in the order shown, `best` as an index into them."""
    IDS = "ids"
    """The same as token ids, one JSON array: the published form of lm-human-preferences."""
    SUMMARIES = "summaries"
    """The published form of summarize-from-feedback."""
    PAIRS = "pairs"
    """One per rejected sample of a usable label: `prompt`, `chosen`, `rejected`."""
    PAIRS_ONE = "pairs_one"
    """One per usable label, the rejected sample picked by a hash."""


class LabelScope(Order):
    """Which labels; without a condition all."""

    purposes: tuple[str, ...] | None = None
    verdicts: tuple[Verdict, ...] | None = None
    splits: tuple[Split, ...] | None = None
    """Of the prompts: train, valid, test."""
    labelers: tuple[UUID, ...] | None = None
    policies: tuple[UUID, ...] | None = None
    """Checkpoints that were serving when the comparison was made."""
    since: AwareDatetime | None = None
    until: AwareDatetime | None = None
    """Labels given before."""
    current: bool = False
    """Leave superseded revisions out."""
    usable: bool = False
    """Only labels that count: one per comparison, with a best sample."""
    enabled: bool = False
    """Leave out labelers whose account is disabled."""
    imported: bool | None = None
    """True: only imported ones; False: only those given here."""

    @model_validator(mode="after")
    def _has_a_span(self) -> Self:
        if self.since and self.until and self.since >= self.until:
            raise ValueError("since lies behind until: no label could be given between them")
        return self


class ExportOrder(Order):
    """Labels out."""

    format: LabelFormat = LabelFormat.JSONL
    scope: LabelScope = LabelScope()


class ModelOrder(Order):
    """A model out."""

    checkpoint: UUID
    to: Annotated[str, Field(pattern=r"^[a-z][a-z0-9+.-]*://\S+$")] | None = None
    """Where it is sent besides: `hf://user/name`, or any URL of fsspec; None: nowhere."""
