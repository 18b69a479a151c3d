"""What the computer offers, as measured, and what went wrong when it was not enough."""

import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from lucency.plan import Machine

if TYPE_CHECKING:
    import torch

#: Share of the free memory that a plan may use; the rest is the user's.
MEMORY_SHARE = 0.8


def cores() -> int:
    """Return the usable processor cores: affinity and container quota counted."""
    n = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    quota = _read("/sys/fs/cgroup/cpu.max").split()
    if len(quota) == 2 and quota[0] != "max":
        n = min(n, max(1, int(int(quota[0]) / int(quota[1]))))
    return n


def free_memory_mib() -> float:
    """Return the memory that this program may take, in MiB: free on the machine and under the container's limit."""
    free = psutil.virtual_memory().available / 2**20
    limit, used = _read("/sys/fs/cgroup/memory.max"), _read("/sys/fs/cgroup/memory.current")
    if limit.isdigit() and used.isdigit():
        free = min(free, (int(limit) - int(used)) / 2**20)
    return float(free)


def peak_memory_mib() -> float:
    """Return the highest resident memory of this process so far, in MiB."""
    try:
        import resource  # noqa: PLC0415 - absent on Windows
    except ImportError:
        return float(psutil.Process().memory_info().peak_wset / 2**20)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak / 2**20 if platform.system() == "Darwin" else peak / 2**10)


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def name() -> str:
    """Return the processor's name."""
    for line in _read("/proc/cpuinfo").splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def measure() -> Machine:
    """Measure cores, memory and the training rate of a small stack of convolutions, in about two seconds."""
    import torch  # noqa: PLC0415 - seconds of start-up that cores and memory do not need

    n = cores()
    torch.set_num_threads(n)
    if torch.cuda.is_available():
        free, _ = torch.cuda.mem_get_info()
        slow = _rate("cuda", torch.float32)
        fast = _rate("cuda", torch.bfloat16)
        return Machine(
            cores=n,
            memory_mib=free_memory_mib(),
            accelerator="cuda",
            device_memory_mib=free / 2**20,
            gflops=fast,
            gflops_fp32=slow,
            bf16=torch.cuda.is_bf16_supported(),
            name=torch.cuda.get_device_name(),
        )
    slow = _rate("cpu", torch.float32)
    fast = _rate("cpu", torch.bfloat16) if _has_bf16() else 0.0
    return Machine(
        cores=n,
        memory_mib=free_memory_mib(),
        gflops=max(fast, slow),
        gflops_fp32=slow,
        bf16=fast > 1.2 * slow,
        name=name(),
    )


def _has_bf16() -> bool:
    flags = _read("/proc/cpuinfo")
    # Elsewhere (macOS, Windows) the measurement alone decides.
    return "avx512_bf16" in flags or "amx_bf16" in flags or "bf16" in flags or not flags


def _rate(device: str, kind: "torch.dtype") -> float:
    """Return 10⁹ operations a second of training a few layers as networks have them: convolution, norm, rectifier."""
    import torch  # noqa: PLC0415 - as above
    from torch import nn  # noqa: PLC0415 - as above

    size, width, n = 96, 24, 4 if device == "cpu" else 64
    layers: list[nn.Module] = []
    for _ in range(4):
        layers += [nn.Conv2d(width, width, 3, padding=1, bias=False), nn.GroupNorm(width, width), nn.LeakyReLU(0.01)]
    net = nn.Sequential(*layers).to(device)
    x = torch.zeros(n, width, size, size, device=device)
    flops = 4 * 3 * 2 * n * size * size * width * width * 9

    def once() -> None:
        with torch.autocast(device, dtype=torch.bfloat16, enabled=kind == torch.bfloat16):
            loss = net(x).float().mean()
        loss.backward()

    return flops / best_time(once, device=device) / 1e9


def best_time(work: Callable[[], object], *, repeats: int = 3, device: str = "cpu") -> float:
    """Return the shortest of ``repeats`` timed calls after one warm-up, in seconds."""
    import torch  # noqa: PLC0415 - as above

    times = []
    for number in range(repeats + 1):
        begin = time.perf_counter()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        if number:
            times.append(time.perf_counter() - begin)
    return min(times)


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an exception means that memory ran out, on the processor or on the accelerator."""
    import torch  # noqa: PLC0415 - as above

    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(
        words in str(error) for words in ("can't allocate memory", "not enough memory", "out of memory", "bad_alloc")
    )
