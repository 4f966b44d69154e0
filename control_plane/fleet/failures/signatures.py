"""What programs write when they fail: patterns of PyTorch, CUDA, NCCL, Python and the system, and what each one means.

The texts are those that the programs print; each comment names where they come from. A pattern is searched in one
line of at most 2,000 characters, and has no nested repeats, so that no line can make it slow.
"""

import re
from dataclasses import dataclass
from typing import Final

from control_plane.fleet.failures.finding import Rank
from control_plane.model.diagnosis import FaultDomain

_JOB, _PLATFORM, _HARDWARE = FaultDomain.JOB, FaultDomain.PLATFORM, FaultDomain.HARDWARE


@dataclass(frozen=True, slots=True)
class Signature:
    """A pattern and what it means."""

    cause: str
    pattern: re.Pattern[str]
    summary: str
    advice: str
    fault: FaultDomain = _JOB
    rank: Rank = Rank.CAUSE
    confidence: float = 0.9


def _of(
    cause: str,
    pattern: str,
    summary: str,
    advice: str,
    fault: FaultDomain = _JOB,
    rank: Rank = Rank.CAUSE,
    confidence: float = 0.9,
) -> Signature:
    return Signature(cause, re.compile(pattern, re.IGNORECASE), summary, advice, fault, rank, confidence)


SIGNATURES: Final[tuple[Signature, ...]] = (
    # PyTorch's CUDA allocator, JAX/XLA, TensorFlow, vLLM
    _of(
        "GPU_OUT_OF_MEMORY",
        r"CUDA out of memory|torch\.cuda\.OutOfMemoryError|torch\.OutOfMemoryError|CUDA_ERROR_OUT_OF_MEMORY"
        r"|cudaErrorMemoryAllocation|CUBLAS_STATUS_ALLOC_FAILED|RESOURCE_EXHAUSTED: Out of memory"
        r"|No available memory for the cache blocks",
        "the job asked for more memory than its GPUs have",
        "use a smaller batch or sequence, gradient checkpointing or sharding, or ask for GPUs with more memory",
        confidence=0.97,
    ),
    _of(
        "HOST_OUT_OF_MEMORY",
        r"^MemoryError\b|numpy\.core\._exceptions\._ArrayMemoryError|std::bad_alloc|Cannot allocate memory"
        r"|DefaultCPUAllocator: (?:can't|not enough memory)",
        "the job asked for more memory than its host gives it",
        "use fewer data loader workers or smaller buffers, or ask for more host memory",
    ),
    _of(
        "SHARED_MEMORY_FULL",
        r"bus error.{0,80}shared memory|unable to (?:open|write to|allocate) shared memory"
        r"|/dev/shm.{0,60}No space left",
        "the job's data loaders used up the host's shared memory",
        "use fewer data loader workers, or a larger /dev/shm for the container",
    ),
    _of(
        "DISK_FULL",
        r"No space left on device|\[Errno 28\]|ENOSPC|Disk quota exceeded|\[Errno 122\]",
        "a disk that the job writes to is full",
        "free some space, write checkpoints elsewhere, or keep fewer of them",
    ),
    _of(
        "READ_ONLY_FILE_SYSTEM",
        r"Read-only file system|\[Errno 30\]",
        "a file system that the job writes to is read-only",
        "write to a folder that is meant for it; if it should be writable, look at the host's conditions",
    ),
    # NVIDIA driver and CUDA runtime: what an XID looks like from inside a process
    _of(
        "GPU_UNCORRECTABLE_ECC",
        r"uncorrectable ECC error encountered|cudaErrorECCUncorrectable|CUDA_ERROR_ECC_UNCORRECTABLE",
        "a GPU found an uncorrectable memory error under the job",
        "the job may be run again; the GPU needs a repair, see the host's incidents",
        _HARDWARE,
        Rank.HARDWARE,
        0.9,
    ),
    _of(
        "GPU_LOST",
        r"GPU is lost|has fallen off the bus|cudaErrorDevicesUnavailable|CUDA_ERROR_DEVICE_UNAVAILABLE"
        r"|Unable to determine the device handle for GPU",
        "a GPU was lost under the job",
        "the job may be run again elsewhere; the GPU needs a repair, see the host's incidents",
        _HARDWARE,
        Rank.HARDWARE,
        0.9,
    ),
    _of(
        "NVLINK_ERROR",
        r"cudaErrorNvlinkUncorrectable|CUDA_ERROR_NVLINK_UNCORRECTABLE|uncorrectable NVLink error",
        "an NVLink failed under the job",
        "the job may be run again elsewhere; the link needs a repair, see the host's incidents",
        _HARDWARE,
        Rank.HARDWARE,
        0.9,
    ),
    _of(
        "CUDA_DRIVER_MISMATCH",
        r"CUDA driver version is insufficient for CUDA runtime version|Driver/library version mismatch"
        r"|forward compatibility was attempted on non supported HW|driver on your system is too old"
        r"|cudaErrorInsufficientDriver|CUDA_ERROR_SYSTEM_DRIVER_MISMATCH",
        "the driver of the host is too old for the job's CUDA",
        "use an image built for the host's driver, or hosts with a newer driver",
        _PLATFORM,
    ),
    _of(
        "GPU_ARCHITECTURE_UNSUPPORTED",
        r"no kernel image is available for execution|is not compatible with the current PyTorch installation"
        r"|cudaErrorNoKernelImageForDevice|Unsupported gpu architecture",
        "the job's libraries were not built for this GPU model",
        "use an image built for this model, or ask for another model",
    ),
    _of(
        "NO_GPU_VISIBLE",
        r"No CUDA GPUs are available|no CUDA-capable device is detected|Torch not compiled with CUDA enabled"
        r"|cudaErrorNoDevice|Found no NVIDIA driver on your system",
        "the job sees no GPU",
        "check that the image has CUDA and that the job asks for GPUs and does not hide them",
        _JOB,
        Rank.CAUSE,
        0.85,
    ),
    _of(
        "GPU_ILLEGAL_ACCESS",
        r"an illegal memory access was encountered|cudaErrorIllegalAddress|CUDA_ERROR_ILLEGAL_ADDRESS"
        r"|misaligned address|device-side assert triggered|cudaErrorAssert",
        "a kernel of the job made an invalid access on the GPU",
        "run once with CUDA_LAUNCH_BLOCKING=1 to find the kernel; often an index (label, token id) is out of range",
        confidence=0.85,
    ),
    # Python
    _of(
        "IMPORT_ERROR",
        r"ModuleNotFoundError: No module named|^ImportError: |cannot import name .{1,100} from"
        r"|error while loading shared libraries|: undefined symbol: ",
        "the job needs a library that its image does not have",
        "install it in the image, or name an image that has it",
        confidence=0.93,
    ),
    # bash and dash; podman and docker
    _of(
        "COMMAND_NOT_FOUND",
        r": command not found$|executable file (?:`.{1,200}` )?not found in"
        r"|^(?:/bin/)?(?:sh|dash|bash|ash): \d+: .{1,200}: not found$",
        "the job runs a command that is not there",
        "check its name and PATH, or name an image that has it",
        confidence=0.93,
    ),
    _of(
        "FILE_NOT_FOUND",
        r"FileNotFoundError|can't open file '|No such file or directory|NoSuchKey|404 Not Found.{0,80}(?:s3|gs|blob)",
        "a file that the job needs is not there",
        "check the path, and that the data is on the host or mounted",
        confidence=0.85,
    ),
    _of(
        "ACCESS_DENIED",
        r"PermissionError|Permission denied|403 Forbidden|401 Unauthorized|AccessDenied|GatedRepoError"
        r"|Invalid credentials|Access to model .{1,100} is restricted|ExpiredToken|could not read Username",
        "the job was not allowed to read or write something it needs",
        "check the credentials and rights that the job runs with",
        confidence=0.85,
    ),
    _of(
        "NETWORK_UNREACHABLE",
        r"Temporary failure in name resolution|Name or service not known|getaddrinfo failed|Could not resolve host"
        r"|Network is unreachable|No route to host|Max retries exceeded with url|ConnectTimeoutError"
        r"|Failed to establish a new connection",
        "the job could not reach a service over the network",
        "check the name and that hosts may reach it; fetch data and models before the run",
        confidence=0.8,
    ),
    _of(
        "PORT_IN_USE",
        r"Address already in use|EADDRINUSE|\[Errno 98\]",
        "a port that the job wants is in use on its host",
        "let the job use MASTER_PORT, or another free port",
        confidence=0.8,
    ),
    _of(
        "LOSS_NOT_FINITE",
        r"loss (?:is|=|:|became) ?nan|loss is (?:inf|not finite)|Gradient overflow.{0,60}(?:minimum|stopping)"
        r"|Current loss scale already at minimum|found NaN|contains nan values",
        "the training diverged: its loss was no longer a number",
        "lower the learning rate, clip gradients, or go on from an earlier checkpoint",
        confidence=0.85,
    ),
    _of(
        "CHECKPOINT_INVALID",
        r"PytorchStreamReader failed|invalid load key|Error\(s\) in loading state_dict|size mismatch for "
        r"|SafetensorError|Unexpected key\(s\) in state_dict|checkpoint.{0,40}(?:corrupt|truncated)",
        "a checkpoint could not be loaded",
        "go on from an earlier checkpoint, or check that it belongs to this model",
    ),
    _of(
        "BAD_ARGUMENTS",
        r"error: unrecognized arguments|error: the following arguments are required|error: argument |"
        r"SyntaxError: |IndentationError: |yaml\.scanner\.ScannerError|JSONDecodeError",
        "the job's command or configuration is wrong",
        "fix the command; its usage stands in the log",
        confidence=0.85,
    ),
    # NCCL and torch.distributed: what the survivors say
    _of(
        "NCCL_TIMEOUT",
        r"Watchdog caught collective operation timeout|ProcessGroupNCCL.{0,80}timed? ?out|NCCL.{0,40}timeout"
        r"|wait timeout after \d+ ?ms|Timed out (?:waiting|initializing) .{0,60}(?:clients|process group)"
        r"|DistStoreError|Socket Timeout",
        "a collective operation waited in vain for a rank of the gang",
        "look for the first rank that failed or hung; if none did, the network between the hosts is to blame",
        FaultDomain.UNKNOWN,
        Rank.CONSEQUENCE,
        0.7,
    ),
    _of(
        "NCCL_ERROR",
        r"ncclSystemError|ncclInternalError|ncclRemoteError|ncclUnhandledCudaError|NCCL error|NET/IB : .{0,80}error"
        r"|ibv_(?:poll_cq|modify_qp|reg_mr).{0,80}(?:failed|error)|unhandled (?:system|cuda) error.{0,40}NCCL",
        "the gang's ranks could not talk to each other",
        "look for the first rank that failed; if none did, look at the links between the hosts (NCCL_DEBUG=INFO)",
        FaultDomain.UNKNOWN,
        Rank.CONSEQUENCE,
        0.7,
    ),
    _of(
        "PEER_DISCONNECTED",
        r"Connection reset by peer|Connection closed by (?:remote )?peer|Broken pipe|Connection refused"
        r"|EOFError|peer.{0,20}(?:exited|gone)",
        "another process of the job went away",
        "look for the first rank that failed",
        FaultDomain.UNKNOWN,
        Rank.CONSEQUENCE,
        0.5,
    ),
    _of(
        "CUDA_ERROR",
        r"CUDA error: |cudaError[A-Z]\w+|CUDA_ERROR_[A-Z_]+|CUDNN_STATUS_[A-Z_]+|CUBLAS_STATUS_[A-Z_]+",
        "a call of CUDA failed",
        "run once with CUDA_LAUNCH_BLOCKING=1 to find the call; if it fails on one host alone, look at that host",
        FaultDomain.UNKNOWN,
        Rank.CONSEQUENCE,
        0.6,
    ),
    _of(
        "EXCEPTION",
        r"^(?:[A-Za-z_][\w.]{0,80}(?:Error|Exception|Interrupt)|AssertionError)(?:: |$)|^panic: |^Error: ",
        "the program ended with an error of its own",
        "read the traceback in the log: orquanta job logs",
        confidence=0.6,
    ),
)
