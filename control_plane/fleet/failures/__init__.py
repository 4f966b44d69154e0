"""Why a job failed, by rules: facts that hosts report first, then faults of its GPUs, then what it wrote. Pure."""
