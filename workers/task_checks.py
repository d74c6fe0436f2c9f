"""Whether a task can be done with a base model, asked before anything is sampled or trained."""

from app.errors import InvalidError
from app.hparams import TaskHParams
from workers.nets.tokenizer import start_tokens, token_ids
from workers.references import Reference


def require_fit(reference: Reference, task: TaskHParams) -> None:
    """Raises: InvalidError if prompt and response exceed the model's context, no token of the tokenizer ends a sample
    as the task says, or the tokenizer is another model's."""
    known, vocabulary = reference.policy.language_model.vocabulary, reference.tokenizer.vocab_size
    if vocabulary > known:
        raise InvalidError(
            f"The tokenizer in {reference.folder} has {vocabulary} tokens and the model only {known}: save the model's "
            "own tokenizer there."
        )
    _require_room(reference, task)
    try:
        reference.terminators(task)
    except ValueError as error:
        raise InvalidError(f"task.terminator: {error}") from error


def _require_room(reference: Reference, task: TaskHParams) -> None:
    context = reference.policy.language_model.context
    affixes = len(token_ids(reference.tokenizer, task.prefix)) + len(token_ids(reference.tokenizer, task.suffix))
    room = task.query_tokens if context is None else context - affixes - task.response_tokens
    smallest = len(start_tokens(reference.tokenizer)) + 1
    if task.query_tokens < smallest:
        raise InvalidError(f"task.query_tokens: at least {smallest} are needed, a start token counted.")
    if room < smallest:
        raise InvalidError(
            f"The model in {reference.folder} reads {context} tokens, which {affixes} of prefix and suffix and "
            f"{task.response_tokens} of the response leave no room for a prompt: lower task.response_tokens, or choose "
            "another model."
        )
    if task.query_tokens > room:
        raise InvalidError(
            f"The model in {reference.folder} reads {context} tokens, but prompt, prefix, suffix and response may have "
            f"{task.query_tokens} + {affixes} + {task.response_tokens}: set task.query_tokens to {room} or less, or "
            "choose another model."
        )
