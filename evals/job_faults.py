"""Jobs that fail, with what they wrote: hundreds of lines, of which one or two tell why."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field

from control_plane.model.job import ExitReason

NOISE_LINES = 300

_NOISE = (
    "INFO step {n}/100000 loss {f:.4f} lr 3.0e-04 grad_norm {f:.3f} tokens/s {t}",
    "[rank{r}] NCCL INFO Channel 0{d}/0 : 0[0] -> 1[1] via P2P/CUMEM",
    "Epoch {n}: 42%|####2     | {n}/2400 [00:12<00:17, 3.41it/s, loss={f:.3f}]",
    "INFO saved checkpoint-{n} to /data/run/checkpoints in {f:.1f} s",
    "torch/utils/data/dataloader.py:557: UserWarning: This DataLoader will create {d} worker processes in total.",
    "WARNING NCCL_ASYNC_ERROR_HANDLING is set; collectives wait at most 1800 s",
    "INFO gpu memory: {t} MiB allocated of 81559 MiB",
    "WARNING tokenizer: 3 sequences were cut to 4096 tokens",
    "INFO eval: perplexity {f:.2f}, best so far {f:.2f}",
    "INFO resumed from checkpoint-{n}, no error so far",
)


@dataclass(frozen=True, slots=True)
class JobFault:
    """A way for a job to fail. `lines` are the telling ones of each rank, written last.

    `delay_seconds` says how much later than rank 0 a rank wrote them; `xid` is a fault of the host's GPU of that rank.
    """

    id: str
    roots: frozenset[str]
    shown_by: tuple[str, ...]
    lines: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    reason: ExitReason = ExitReason.EXITED
    exit_code: int | None = 1
    ranks: int = 1
    delay_seconds: Mapping[int, float] = field(default_factory=dict)
    xid: Mapping[int, tuple[int, str]] = field(default_factory=dict)
    lost_rank: int | None = None


_TRACE = ("Traceback (most recent call last):", '  File "/workspace/train.py", line 412, in <module>', "    main()")
_WATCHDOG = (
    (
        "[rank0]:[E1123 ProcessGroupNCCL.cpp:632] [Rank 0] Watchdog caught collective operation timeout: "
        "WorkNCCL(SeqNum=8812, OpType=ALLREDUCE, NumelIn=1048576, Timeout(ms)=600000) ran for 600021 milliseconds."
    ),
    "terminate called after throwing an instance of 'c10::DistBackendError'",
)


def _one(name: str, cause: str, *lines: str, shown_by: str = "", exit_code: int = 1) -> JobFault:
    return JobFault(name, frozenset({cause}), (shown_by or lines[-1][:60],), {0: lines}, exit_code=exit_code)


FAULTS: tuple[JobFault, ...] = (
    _one(
        "gpu-oom", "GPU_OUT_OF_MEMORY", *_TRACE,
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.25 GiB. GPU 0 has a total capacity of 79.11 "
        "GiB of which 1.19 GiB is free.",
    ),
    _one(
        "host-oom-python", "HOST_OUT_OF_MEMORY", *_TRACE,
        "numpy.core._exceptions._ArrayMemoryError: Unable to allocate 381. GiB for an array with shape (320000, 16)",
    ),
    _one(
        "shm", "SHARED_MEMORY_FULL",
        "RuntimeError: DataLoader worker (pid 4312) is killed by signal: Bus error. It is possible that dataloader's "
        "workers are out of shared memory. Please try to raise your shared memory limit.",
        shown_by="shared memory",
    ),
    _one(
        "disk-full", "DISK_FULL", *_TRACE,
        "OSError: [Errno 28] No space left on device: '/data/run/checkpoints/checkpoint-9000/optimizer.pt'",
    ),
    _one("import", "IMPORT_ERROR", *_TRACE, "ModuleNotFoundError: No module named 'flash_attn'"),
    _one(
        "shared-library", "IMPORT_ERROR",
        "python: error while loading shared libraries: libcudnn.so.9: cannot open shared object file: No such file or "
        "directory", exit_code=127,
    ),
    _one(
        "file", "FILE_NOT_FOUND", *_TRACE,
        "FileNotFoundError: [Errno 2] No such file or directory: '/data/tokens/train-00012.bin'",
    ),
    _one("denied", "ACCESS_DENIED", *_TRACE, "PermissionError: [Errno 13] Permission denied: '/models/llama-3'"),
    _one(
        "dns", "NETWORK_UNREACHABLE", *_TRACE,
        "requests.exceptions.ConnectionError: HTTPSConnectionPool(host='hub.example', port=443): Max retries exceeded "
        "with url: /api/models/x (Caused by NameResolutionError: Temporary failure in name resolution)",
    ),
    _one("port", "PORT_IN_USE", *_TRACE,
        "RuntimeError: The server socket has failed to bind to [::]:29500 (errno: 98 - "
        "Address already in use)."),
    _one("nan", "LOSS_NOT_FINITE", "ERROR loss is nan at step 18213, stopping", "RuntimeError: training diverged",
        shown_by="loss is nan"),
    _one(
        "checkpoint", "CHECKPOINT_INVALID", *_TRACE,
        "RuntimeError: PytorchStreamReader failed reading zip archive: failed finding central directory",
    ),
    _one("arguments", "BAD_ARGUMENTS", "usage: train.py [-h] --data DATA", "train.py: error: unrecognized arguments: "
        "--bath-size 32", exit_code=2),
    _one(
        "driver", "CUDA_DRIVER_MISMATCH", *_TRACE,
        "RuntimeError: The NVIDIA driver on your system is too old (found version 11040).",
    ),
    _one(
        "architecture", "GPU_ARCHITECTURE_UNSUPPORTED", *_TRACE,
        "RuntimeError: CUDA error: no kernel image is available for execution on the device",
    ),
    _one("no-gpu", "NO_GPU_VISIBLE", *_TRACE, "RuntimeError: No CUDA GPUs are available"),
    _one(
        "illegal-access", "GPU_ILLEGAL_ACCESS", *_TRACE,
        "RuntimeError: CUDA error: an illegal memory access was encountered",
    ),
    JobFault("oom-kill", frozenset({"HOST_OUT_OF_MEMORY"}), ("/rank/0",), {0: ("INFO loading shard 12",)},
        reason=ExitReason.OOM_KILLED, exit_code=None),
    JobFault("time-limit", frozenset({"TIME_LIMIT"}), ("/rank/0",), {0: ("INFO step 99120",)},
        reason=ExitReason.TIMED_OUT, exit_code=None),
    JobFault("spot-loss", frozenset({"NODE_LOST"}), ("/rank/0",), {0: ("INFO step 7",)}, reason=ExitReason.NODE_LOST,
        exit_code=None),
    # A gang whose visible failure, on every rank, is a collective that timed out.
    JobFault("nccl-hidden-oom", frozenset({"GPU_OUT_OF_MEMORY"}), ("CUDA out of memory",),
        {0: _WATCHDOG, 1: _WATCHDOG,
         2: (*_TRACE, "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 512.00 MiB."),
         3: _WATCHDOG}, ranks=4, delay_seconds={0: 600, 1: 600, 3: 600}),
    JobFault("nccl-hidden-disk", frozenset({"DISK_FULL"}), ("No space left",),
        {0: _WATCHDOG, 1: (*_TRACE, "OSError: [Errno 28] No space left on device"),
         2: ("torch.distributed.DistBackendError: NCCL error in: ncclRemoteError: Connection closed by remote peer",)},
        ranks=3, delay_seconds={0: 600, 2: 30}),
    JobFault("nccl-hidden-xid-79", frozenset({"GPU_LOST"}), ("/lost",),
        {0: _WATCHDOG, 1: ("RuntimeError: CUDA error: unspecified launch failure",)}, ranks=2,
        delay_seconds={0: 60, 1: 0}, xid={1: (79, "GPU has fallen off the bus.")}),
    JobFault("nccl-alone", frozenset({"NCCL_TIMEOUT"}), ("Watchdog caught",), {0: _WATCHDOG, 1: _WATCHDOG}, ranks=2),
    JobFault("xid-48", frozenset({"XID_48"}), ("xid-48",),
        {0: (*_TRACE, "RuntimeError: CUDA error: uncorrectable ECC error encountered")},
        xid={0: (48, "DBE (double bit error) ECC Error")}),
    JobFault("xid-95", frozenset({"XID_95"}), ("xid-95",), {0: (*_TRACE, "RuntimeError: CUDA error: unknown error")},
        xid={0: (95, "Uncontained: LTC TAG (0x2,0x0). RST: Yes, D-RST: No")}),
    JobFault("xid-94", frozenset({"XID_94"}), ("xid-94",),
        {0: (*_TRACE, "RuntimeError: CUDA error: uncorrectable ECC error encountered")},
        xid={0: (94, "Contained: SM (0x1). RST: No, D-RST: No")}),
    JobFault("xid-74", frozenset({"XID_74"}), ("xid-74",),
        {0: ("NCCL WARN Cuda failure 'uncorrectable NVLink error detected during the execution'",)},
        xid={0: (74, "NVLink: fatal error detected on link 3(0x10000, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0)")}),
)  # fmt: skip


BEYOND_RULES: tuple[JobFault, ...] = (
    _one("data-cut", "DATA_INVALID", "loader: shard 00017 ends in the midst of record 4821, giving up", exit_code=3),
    _one("licence", "LICENCE_REFUSED", "flexlm: checkout of SIM_GPU turned down, all 12 seats are taken", exit_code=9),
    _one(
        "dependency", "DEPENDENCY_CONFLICT", *_TRACE,
        "RuntimeError: flash_attn 2.5.8 was built against torch 2.3.0, and torch 2.5.1 is loaded",
    ),
    _one("quota", "QUOTA_EXCEEDED", "object store: 429 SlowDown, the request budget of this hour is used up", "bye"),
    _one("deadlock", "DEADLOCK", "no worker has taken a batch for 1800 s", "heartbeat: ends the run", exit_code=6,
        shown_by="no worker has taken"),
    _one("config", "CONFIGURATION_WRONG", *_TRACE, "ValueError: 6 pipeline stages do not divide 32 layers"),
    _one("bug", "PROGRAM_BUG", *_TRACE, "IndexError: list index out of range"),
    # The rank that failed first says why; the others say only that it is gone.
    JobFault("gang-config", frozenset({"CONFIGURATION_WRONG"}), ("does not divide hidden size",),
        {0: ("RuntimeError: Connection reset by peer",),
         1: (*_TRACE, "ValueError: tensor parallel size 3 does not divide hidden size 4096")},
        ranks=2, delay_seconds={0: 4}),
)  # fmt: skip
"""Failures for which no rule has a cause, or none that it is sure of; a model may."""


def output_of(fault: JobFault, rank: int) -> str:
    """Return all that a rank wrote: noise, and the telling lines at its end."""
    chance = random.Random(f"{fault.id}/{rank}")
    lines = [
        chance.choice(_NOISE).format(
            n=chance.randrange(100, 99_999),
            f=chance.uniform(0.1, 9.0),
            t=chance.randrange(10_000, 80_000),
            d=chance.randrange(2, 9),
            r=rank,
        )
        for _ in range(NOISE_LINES)
    ]
    return "\n".join([*lines, *fault.lines.get(rank, ())]) + "\n"
