"""Labels into DPO: python examples/dpo.py LABELS MODEL OUT

LABELS is the file of `prefloop export-labels FOLDER --run RUN --format pairs`. Needs trl.
"""

import sys

from datasets import load_dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig, DPOTrainer


def train(pairs: str, model: str, out: str, steps: int = -1) -> float:
    """Tune a model on exported pairs by DPO; the mean loss."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    trainer = DPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(model),
        args=DPOConfig(output_dir=out, max_steps=steps, per_device_train_batch_size=4, report_to=[], bf16=False),
        train_dataset=load_dataset("json", data_files=pairs, split="train"),
        processing_class=tokenizer,
    )
    loss = trainer.train().training_loss
    trainer.save_model(out)
    return float(loss)


if __name__ == "__main__":
    print(train(*sys.argv[1:4]))
