"""Teach a model to exclaim: python examples/any_reward.py MODEL FOLDER UPDATES"""

import sys

from app.texts import bundled_stories
from workers.steps import Steps

model, folder, updates = sys.argv[1], sys.argv[2], int(sys.argv[3])
steps = Steps.open(model, changes={"ppo": {"batch": 16, "episodes": 16 * updates}})
for prompts in steps.batches(bundled_stories()):
    samples = steps.sample(prompts)
    stats = steps.update(samples, [float(text.count("!")) for text in samples.texts])
    print(f"score {stats['objective/score']:.2f}, KL {stats['objective/kl']:.2f} nats")
steps.save(folder)
