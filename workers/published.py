"""Published policies: folders that `from_pretrained` of transformers opens as they lie.

model.safetensors, config.json, generation_config.json and the tokenizer's files under transformers' own names;
value_head.safetensors and the store's manifest.json beside them, which transformers does not look at.
"""

import copy
import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.core_model_loading import revert_weight_conversion
from transformers.modeling_utils import remove_tied_weights_from_state_dict

from workers.checkpoints import CheckpointStore, CorruptCheckpointError
from workers.nets.language_model import LanguageModel
from workers.nets.policy import Policy
from workers.ranks import ALONE, Ranks
from workers.sharding import all_whole

KIND = "policy"
_OLD_FILE = "policy"
"""Version 0.1.0 before its release kept all tensors of a policy in one file of that name."""


def publish(store: CheckpointStore, policy: Policy, tokenizer: PreTrainedTokenizerBase, *, ranks: Ranks = ALONE) -> str:
    """Write a policy with its tokenizer; its digest. Of several processes all must ask, and the first writes.

    Raises: StoreFullError.
    """
    model, keep = policy.language_model.model, ranks.rank == 0
    weights, head = (all_whole(part.state_dict(), keep=keep) for part in (model, policy.value_head))

    def write() -> str:
        tensors = {"model": hub_tensors(model, weights), "value_head": head}
        return store.save(KIND, tensors, {}, _configs(model) | _tokenizer_files(tokenizer))

    return ranks.agreed(write)


def load_policy(store: CheckpointStore, digest: str, base: Path, *, device: torch.device) -> Policy:
    """A published policy.

    Args:
        base: folder of the base model, from which policies of an older form take their architecture.
    Raises: MissingCheckpointError; CorruptCheckpointError.
    """
    loaded = store.load_checked(digest)
    if _OLD_FILE in loaded.tensors:
        policy = Policy(LanguageModel.load(base, device=device))
        policy.load_state_dict(loaded.tensors[_OLD_FILE])
        return policy
    if not {"model", "value_head"} <= loaded.tensors.keys():
        raise CorruptCheckpointError(f"checkpoint {digest} in {store.root} is a {loaded.kind}, not a policy")
    policy = Policy(LanguageModel.load(loaded.folder, device=device))
    policy.value_head.load_state_dict(loaded.tensors["value_head"])
    return policy


def hub_tensors(model: PreTrainedModel, weights: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    """The weights under the names `save_pretrained` gives them: tied ones once, renamed ones under their old names.

    Args:
        weights: the model's, by its own names; None: as it holds them.
    """
    ignored = set(model._keys_to_ignore_on_save or ())
    weights = model.state_dict() if weights is None else weights
    kept = {name: tensor for name, tensor in weights.items() if name not in ignored}
    untied = remove_tied_weights_from_state_dict(kept, model)
    return dict(revert_weight_conversion(model, untied))


def _configs(model: PreTrainedModel) -> dict[str, bytes]:
    config = copy.deepcopy(model.config)
    config.architectures = [type(model).__name__]
    config.dtype = str(model.dtype).removeprefix("torch.")  # else transformers casts to the base model's when it loads
    files = {"config.json": config.to_json_string().encode()}
    if model.can_generate():
        files["generation_config.json"] = model.generation_config.to_json_string().encode()
    return files


def _tokenizer_files(tokenizer: PreTrainedTokenizerBase) -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir()) if path.is_file()}
