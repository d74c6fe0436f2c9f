"""Hyperparameters and task presets: frozen, validated, with units.

Standard library and pydantic only, so that forms, the API and the trainers read one definition. A run stores its
`RunHParams` as JSON on its row when it is created and never changes it.
"""

from app.hparams.base import HParams
from app.hparams.changes import InvalidSettingsError, changed, differences, parse_changes, planned
from app.hparams.collection import CollectionHParams
from app.hparams.labeling import LabelingHParams
from app.hparams.line import AndonHParams, PromotionHParams
from app.hparams.ppo import GuardHParams, PPOHParams
from app.hparams.presets import PRESETS, preset
from app.hparams.reward import MIDDLE_MEANS, PAPER_HEAD, PROBE_HEADS, Pooling, Readout, RewardHead, RewardHParams
from app.hparams.run import RunHParams
from app.hparams.schedule import ScheduleHParams
from app.hparams.settings import Setting, SettingKind, settings_of, typed
from app.hparams.supervised import SupervisedHParams
from app.hparams.task import TaskHParams

__all__ = [
    "MIDDLE_MEANS",
    "PAPER_HEAD",
    "PRESETS",
    "PROBE_HEADS",
    "AndonHParams",
    "CollectionHParams",
    "GuardHParams",
    "HParams",
    "InvalidSettingsError",
    "LabelingHParams",
    "PPOHParams",
    "Pooling",
    "PromotionHParams",
    "Readout",
    "RewardHParams",
    "RewardHead",
    "RunHParams",
    "ScheduleHParams",
    "Setting",
    "SettingKind",
    "SupervisedHParams",
    "TaskHParams",
    "changed",
    "differences",
    "parse_changes",
    "planned",
    "preset",
    "settings_of",
    "typed",
]
