"""What people ask for when data goes in or out: the `args` of the jobs that carry it. Pydantic only."""

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from app.hparams import TaskHParams

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
