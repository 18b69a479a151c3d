"""Several processes, as ``torchrun`` starts them: the first is the program, the others help it to train."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

#: The others wait while the first reads, compares and writes: for days, where it takes days. A process that ends
#: without a word is noticed at once by the connection that breaks.
PATIENCE = timedelta(days=30)


@contextmanager
def company() -> Iterator[bool]:
    """Join the processes that were started together; yield whether this one is to do what the user has asked for.

    One that is not has already helped, and is done. A process that was started alone is alone.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ or os.environ.get("WORLD_SIZE", "1") == "1":
        yield True
        return
    import torch  # noqa: PLC0415 - torch takes seconds; a process that was started alone may do without
    from torch import distributed  # noqa: PLC0415

    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    distributed.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", timeout=PATIENCE)
    from lucency import ranks  # noqa: PLC0415
    from lucency.train import serve  # noqa: PLC0415

    if not ranks.joined().first:
        serve()
        distributed.destroy_process_group()
        yield False
        return
    try:
        yield True
    except SystemExit as ended:
        # After a failure the others may be in the middle of a step; whoever has started them ends them.
        if not ended.code:
            ranks.send(None)
            distributed.destroy_process_group()
        raise
