"""A folder of medical images becomes an honest, calibrated, documented model, or a clear reason why not.

>>> import lucency
>>> run = lucency.fit("DATA", minutes=10)  # doctest: +SKIP
>>> run.predict("NEW_IMAGES", out="predictions")  # doctest: +SKIP

Every room is a verb: ``lucency.read``, ``inspect``, ``profile``, ``plan``, ``prepare``, ``evaluate``, ``predict``. The
names are looked up when they are first used, so that ``import lucency`` costs nothing. ``lucency.radiomics`` measures
regions of images.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lucency.case import Case, Cohort, Prediction, Source
    from lucency.enhance import enhance
    from lucency.errors import LucencyError
    from lucency.evaluate import Evaluation
    from lucency.events import Listener
    from lucency.fit import Run
    from lucency.image import Image
    from lucency.inspect import Inspection, inspect
    from lucency.model import Model
    from lucency.plan import Plan
    from lucency.planner import plan
    from lucency.predict import predict
    from lucency.prepare import prepare
    from lucency.profile import Profile, profile
    from lucency.read import read
    from lucency.synthesize import synthesize

__version__ = "0.1.0"

__all__ = [
    "Case",
    "Cohort",
    "Evaluation",
    "Image",
    "Inspection",
    "LucencyError",
    "Model",
    "Plan",
    "Prediction",
    "Profile",
    "Run",
    "Source",
    "__version__",
    "enhance",
    "evaluate",
    "fit",
    "inspect",
    "plan",
    "predict",
    "prepare",
    "profile",
    "read",
    "synthesize",
]

#: Public type to the module that has it.
_TYPES = {
    "Case": "case",
    "Cohort": "case",
    "Evaluation": "evaluate",
    "Image": "image",
    "Inspection": "inspect",
    "LucencyError": "errors",
    "Model": "model",
    "Plan": "plan",
    "Prediction": "case",
    "Profile": "profile",
    "Run": "fit",
    "Source": "case",
}
#: Public verb to the module that has it. Most bear the name of their own module.
_VERBS = {
    "enhance": "enhance",
    "evaluate": "evaluate",
    "inspect": "inspect",
    "plan": "planner",
    "predict": "predict",
    "prepare": "prepare",
    "profile": "profile",
    "read": "read",
    "synthesize": "synthesize",
}
#: Public module that holds several verbs.
_MODULES = ("radiomics",)


def _fit(  # noqa: PLR0913 - the options of the command line, in the same words
    data: "str | Path",
    out: "str | Path | None" = None,
    *,
    task: str | None = None,
    target: str | None = None,
    patient: str | None = None,
    layout: str | None = None,
    minutes: float = 10.0,
    seed: int = 0,
    test: str | None = None,
    start: "str | Path | None" = None,
    synthetic: "str | Path | None" = None,
    lang: str = "en",
    allow_leak: bool = False,
    values: Mapping[str, str] | None = None,
    listeners: "Sequence[Listener]" = (),
) -> "Run":
    """Turn a folder of images into a trained, calibrated and evaluated model with its report.

    Called again with the same folders it goes on where it stopped.

    Args:
        data: Folder or file in any layout.
        out: Run folder; None is ``runs/<name of data>`` in the current folder.
        task: Where the targets allow several.
        target: Column to learn.
        patient: Column, or regular expression with one group, that tells patients apart.
        layout: Where two fit the data.
        minutes: Wall clock from profile to report, > 0.
        seed: Of everything random.
        test: Further data that become the locked part.
        start: Run or model whose weights training starts from, where they fit.
        synthetic: Run of ``synthesize`` whose images are trained on too, if it accepted them.
        lang: ``"en"`` or ``"zh"``, of the report.
        allow_leak: Go on although parts share patients or images; the report says so.
        values: Keys of the plan to values, and ``nan``.
        listeners: Called with every event of progress.

    Returns:
        The run, with ``.model``, ``.metrics``, ``.report`` and ``.predict``.

    Raises:
        UsageError: The call is wrong.
        DataError: The data cannot support a model; the message says why.
        LucencyError: Disk full, memory short, another process at work in the folder.
    """
    walk = import_module("lucency.fit")
    settings = walk.Settings(
        task=task,
        target=target,
        patient=patient,
        layout=layout,
        minutes=minutes,
        seed=seed,
        test=test,
        start=None if start is None else str(start),
        synthetic=None if synthetic is None else str(synthetic),
        lang=lang,
        allow_leak=allow_leak,
        values=dict(values or {}),
    )
    run: Run = walk.fit(data, out, settings=settings, listeners=listeners)
    return run


class _Room(ModuleType):
    """A room's module that can be called as its verb: ``lucency.read`` is both the module and what it does."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return _verb(self.__name__.rpartition(".")[2])(*arguments, **options)

    @property
    def __signature__(self) -> Any:
        from inspect import signature  # noqa: PLC0415 - only for people who ask

        return signature(_verb(self.__name__.rpartition(".")[2]))


class _House(ModuleType):
    """The package. The import of a module puts it here; a room's module then becomes callable."""

    def __setattr__(self, name: str, value: object) -> None:
        if isinstance(value, ModuleType) and (name in _VERBS or name == "fit"):
            value.__class__ = _Room
        super().__setattr__(name, value)


def _verb(name: str) -> Callable[..., Any]:
    if name == "fit":
        return _fit
    verb: Callable[..., Any] = getattr(import_module(f"lucency.{_VERBS[name]}"), name)
    return verb


def __getattr__(name: str) -> Any:
    """Look up a public name when it is first used (PEP 562)."""
    if name in _VERBS or name in _MODULES or name == "fit":
        return import_module(f"lucency.{name}")
    if name in _TYPES:
        found = getattr(import_module(f"lucency.{_TYPES[name]}"), name)
        globals()[name] = found
        return found
    raise AttributeError(f"module 'lucency' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_MODULES})


if TYPE_CHECKING:
    fit = _fit
else:
    sys.modules[__name__].__class__ = _House
