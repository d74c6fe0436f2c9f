"""How well reward heads predict choices, by the number of labels they learned from.

    python -m bench label_efficiency --home FOLDER --labels 100,300,1000 --heads paper,probe,mean@0.5

Labels come from `--comparisons`, a file or folder of exported `best_of_4` lines, or from fresh samples of the model,
labeled by `--rule`; where a rule likes several texts equally well there is no label. Each head is trained by the path
that runs use, on the same labels, once per fold, and measured on comparisons whose prompts it never saw. Folds share no
prompt, so their comparisons count together. Samples, features and results are kept in the folder: a run that was killed
goes on, and one with other heads or more labels adds to it. With tuned heads it takes hours: start it as
`nohup python -m bench label_efficiency ... > table.txt 2> log.txt &`. Prints a table, then the same as a line of JSON.
"""

import argparse
import json
import logging
import random
import sys
from collections.abc import Sequence
from pathlib import Path

import structlog
import torch

from app.errors import InvalidError
from app.hparams import parse_changes, planned
from app.rules import load_rule
from app.texts import bundled_stories, read_file
from bench._heads import NAMED, with_heads
from bench._labeled import Files, Fresh, Source, Writer, normalization_samples
from bench._study import Cell, Study, summary, table
from workers.models import AUTO, ensure_base_model, weights_digest
from workers.nets.language_model import LanguageModel
from workers.nets.policy import Policy
from workers.nets.precision import configure
from workers.nets.tokenizer import load_tokenizer
from workers.references import Reference
from workers.reward_features import FeatureCache
from workers.reward_members import Trunk

SEED = 0
"""Of folds, of the order of labels and of training."""
SPARE = 0.1
"""Labels beyond those needed, as a share of a fold: prompts that come back make folds larger."""


def main() -> None:
    """Print the table and the line of JSON."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    try:
        run(sys.argv[1:])
    except InvalidError as error:
        sys.exit(str(error))


def run(words: Sequence[str]) -> None:
    """The same with the words of a command line. Raises: InvalidError where they ask for what cannot be."""
    arguments = _parser().parse_args(words)
    study = _study(arguments)
    cells = [
        Cell(head=head, labels=labels, fold=fold)
        for labels in arguments.labels  # the cheap ones first
        for head in arguments.heads
        for fold in range(arguments.folds)
    ]
    study.warm(arguments.heads)
    rows = summary(study.run(cells))
    print(f"{study.source}: accuracy and loss on {arguments.folds} x {arguments.held_out} comparisons, by labels\n")
    print(table(rows))
    print(json.dumps({"source": study.source, "model": arguments.model, "results": rows}))


def _study(arguments: argparse.Namespace) -> Study:
    hparams = planned(arguments.preset, parse_changes(arguments.set))
    for name in arguments.heads:
        with_heads(hparams.reward, name)
    home: Path = arguments.home.expanduser().absolute()
    precision = configure(_device(), arguments.threads)
    reference = _reference(ensure_base_model(arguments.model, home))
    writer = Writer(reference=reference, hparams=hparams, bf16=precision.bf16)
    prompts = read_file(arguments.prompts) if arguments.prompts else bundled_stories()
    random.Random(SEED).shuffle(prompts)
    source = _source(arguments, writer, prompts, home / "samples")
    return Study(
        source=source.name,
        labels=source.labels(_wanted(arguments)),
        held_out=arguments.held_out,
        normalization=normalization_samples(writer, prompts, home / "samples"),
        trunk=Trunk(
            reference=reference.policy.language_model,
            digest=reference.digest,
            load=lambda: LanguageModel.load(reference.folder, device=_device()),
        ),
        hparams=hparams,
        seed=SEED,
        cache=FeatureCache(home / "features"),
        bf16=precision.bf16,
        results=home / "results.jsonl",
    )


def _source(arguments: argparse.Namespace, writer: Writer, prompts: list[str], folder: Path) -> Source:
    if arguments.comparisons:
        return Files(path=arguments.comparisons, writer=writer, seed=SEED)
    rule = load_rule(arguments.rule)
    return Fresh(writer=writer, prompts=prompts, rule_name=arguments.rule, rule=rule, folder=folder)


def _wanted(arguments: argparse.Namespace) -> int:
    counts: list[int] = arguments.labels
    folds: int = arguments.folds
    held_out: int = arguments.held_out
    fold = round(held_out * (1 + SPARE)) + 1
    return max(max(counts) + fold, folds * fold)


def _reference(folder: Path) -> Reference:
    return Reference(
        folder=folder,
        digest=weights_digest(folder),
        policy=Policy(LanguageModel.load(folder, device=_device())).requires_grad_(False),
        tokenizer=load_tokenizer(folder),
    )


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _numbers(text: str) -> list[int]:
    numbers = sorted({int(one) for one in text.split(",")})
    if numbers[0] < 2:
        raise argparse.ArgumentTypeError("give numbers of labels from 2 up, such as 100,300,1000")
    return numbers


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench label_efficiency",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--home", type=Path, required=True, help="folder for models, samples, features and results")
    parser.add_argument("--model", default=AUTO, help="base model: hub id, folder or auto")
    parser.add_argument("--comparisons", type=Path, help="labeled comparisons, instead of fresh samples")
    parser.add_argument(
        "--rule", default="vader", help="labels fresh samples: vader, descriptive, longest, module:name"
    )
    parser.add_argument("--prompts", type=Path, help="JSON lines or one prompt per line; default: stories")
    parser.add_argument("--labels", type=_numbers, default="100,300,1000")
    parser.add_argument(
        "--heads",
        type=lambda text: list(dict.fromkeys(text.split(","))),
        default="paper,probe",
        help=f"{', '.join(NAMED)}, or places such as mean@0.5+last@1, tuned:mean@1, probe*5 (an ensemble of five)",
    )
    parser.add_argument("--held-out", type=int, default=300, help="comparisons of each fold")
    parser.add_argument("--folds", type=int, default=3, help="disjoint sets held out, each with trainings of its own")
    parser.add_argument("--preset", default="sentiment-small")
    parser.add_argument(
        "--set", action="append", default=[], help="change one value, such as reward.learning_rate=1e-4"
    )
    parser.add_argument("--threads", type=int, default=0, help="of this process; 0 leaves the number as it is")
    return parser


if __name__ == "__main__":
    main()
