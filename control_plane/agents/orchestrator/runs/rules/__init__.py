"""What a run does without a model: one module for each kind of goal, each choosing the next move from what was read."""
