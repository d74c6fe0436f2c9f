"""Models to a place elsewhere: the Hugging Face hub, or any store of fsspec. What is pushed stays here too."""

from pathlib import Path

import fsspec
from huggingface_hub import HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError

from app.errors import InvalidError, UnavailableError

HUB = "hf://"


def push(folder: Path, to: str) -> str:
    """Send a folder to `hf://user/name` or to any URL of fsspec, such as `s3://bucket/name`; where it is now.

    A hub shows each file whole or not at all; asked again, it takes only what it has not. Its address and token are
    those of huggingface_hub's own variables, such as HF_ENDPOINT and HF_TOKEN.
    Raises: InvalidError where somebody has to change something first; UnavailableError where it may go well later.
    """
    try:
        return _push_to_hub(folder, to.removeprefix(HUB)) if to.startswith(HUB) else _put(folder, to)
    except HFValidationError as error:
        raise InvalidError(f"{to} is no name of a repository: give hf://user/name.") from error
    except HfHubHTTPError as error:
        raise _refused(to, folder, error) from error
    except ImportError as error:
        raise UnavailableError(f"{to} needs a package that is not installed: {error}.") from error
    except Exception as error:  # each store, and each kind of broken line, raises kinds of its own
        raise UnavailableError(f"{to} does not take the model ({_first_line(error)}); it stays in {folder}.") from error


def _push_to_hub(folder: Path, name: str) -> str:
    if "/" not in name.strip("/"):
        raise HFValidationError(name)
    api = HfApi()
    api.create_repo(name, exist_ok=True, private=True)
    api.upload_folder(repo_id=name, folder_path=folder, commit_message="Upload from Prefloop")
    return f"{HUB}{name}"


def _refused(to: str, folder: Path, error: HfHubHTTPError) -> InvalidError | UnavailableError:
    """What the hub's status means to who asked."""
    stays = f"The model stays in {folder}."
    said = (error.server_message or _first_line(error)).strip().rstrip(".")
    match error.response.status_code:
        case 401 if get_token() is None:
            return InvalidError(
                f"{to} needs a token: set HF_TOKEN where trainers run, or `hf auth login` there. {stays}"
            )
        case 401:
            return InvalidError(
                f"The hub does not know the token that is set for {to} ({said}): make a new one. {stays}"
            )
        case 402 | 403 | 404:
            return InvalidError(f"The token that is set may not write to {to} ({said}). {stays}")
        case 400 | 413 | 422:
            return InvalidError(f"{to} does not take the model ({said}). {stays}")
        case _:
            return UnavailableError(f"{to} does not take the model now ({said}). {stays}")


def _put(folder: Path, to: str) -> str:
    files, root = fsspec.core.url_to_fs(to)
    files.makedirs(root, exist_ok=True)
    for path in sorted(folder.iterdir()):
        files.put_file(str(path), f"{root.rstrip('/')}/{path.name}")
    return to


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
