"""The training loop that `train` and `finetune` share."""

from __future__ import annotations

from pathlib import Path

from node_agent.templates.gang import Gang, GangError
from node_agent.templates.model import FEATURES, Data, Model
from node_agent.templates.run import Run, say, torch_on_gpu

_LINES = 10
GANG_LOST_EXIT_CODE = 3


def train(name: str, run: Run, model: Model, data: Data, checkpoint: Path) -> int:
    """Train until the run is done, averaging the gradient over the gang; returns the exit code."""
    _warm_gpus(name, run)
    try:
        with Gang(run.place) as gang:
            loss = _descend(name, run, model, data, gang)
    except GangError as error:
        say(f"{name}: {error}")
        return GANG_LOST_EXIT_CODE
    if run.place.rank == 0:
        model.save(checkpoint)
        say(f"{name}: checkpoint {checkpoint} after {model.steps} steps")
    say(f"{name}: done, loss {loss:.4f}, {run.step / max(run.elapsed_seconds, 1e-9):.0f} steps/s")
    return run.exit_code()


def _descend(name: str, run: Run, model: Model, data: Data, gang: Gang) -> float:
    """Every rank makes the same steps and hears from all when one of them is done."""
    world_size = run.place.world_size
    smooth, told = 0.0, -1
    while True:
        gradient = model.gradient(data.batch())
        total = gang.sum([*gradient, float(run.done())])
        if total[-1] > 0:
            return smooth
        mean = [value / world_size for value in total[:-1]]
        model.descend(mean)
        run.step += 1
        smooth = mean[FEATURES + 1] if run.step == 1 else 0.95 * smooth + 0.05 * mean[FEATURES + 1]
        epoch = int(run.progress * _LINES)
        if epoch > told:
            told = epoch
            say(f"{name}: epoch {epoch} step {run.step} loss {smooth:.4f}")


def _warm_gpus(name: str, run: Run) -> None:
    """Put a real matrix product on each GPU, where PyTorch is installed and sees one."""
    torch = torch_on_gpu()
    if torch is None:
        say(f"{name}: computing on the CPU")
        return
    for index in range(torch.cuda.device_count()):
        matrix = torch.randn(2048, 2048, device=f"cuda:{index}")
        norm = float((matrix @ matrix).norm())
        say(f"{name}: {torch.cuda.get_device_name(index)} multiplied 2048 x 2048, norm {norm:.0f}")
    run.step = 0
