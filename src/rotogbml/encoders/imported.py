"""An encoder by its import path: ``package.module:factory``."""

from __future__ import annotations

import importlib
import inspect

import torch
from torch import nn

from rotogbml.errors import UsageError, did_you_mean
from rotogbml.seeds import derive


def import_module(path: str, size: int) -> nn.Module:
    """Return what the factory at ``path`` builds: a class, a function, or a module that is there already.

    The factory is called with ``size`` where it has an argument of that name, otherwise with none. Weights that it
    draws from torch's global generator are the same in every process and every run, whatever the run's seed.

    Raises:
        UsageError: nothing can be imported or built from the path.
    """
    where, _, name = path.partition(":")
    if not where or not name:
        raise UsageError(f"encoder '{path}' is no import path: write package.module:factory")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(0, "import", path))
        factory = _find(path, where, name)
        # Again, since only the first import of a module draws.
        torch.manual_seed(derive(0, "weights", path))
        module = factory if isinstance(factory, nn.Module) else _build(path, factory, size)
    if not isinstance(module, nn.Module):
        raise UsageError(f"encoder '{path}' gives a {type(module).__name__}: it must return a torch.nn.Module")
    return module


def _find(path: str, where: str, name: str) -> object:
    try:
        home = importlib.import_module(where)
    except Exception as error:
        # Missing is the module itself or a package around it, not something that it imports in its turn.
        if isinstance(error, ModuleNotFoundError) and f"{where}.".startswith(f"{error.name}."):
            said = f"no module '{where}': install it, or name its folder in the environment variable PYTHONPATH"
        else:
            said = f"importing '{where}' fails with {type(error).__name__}: {_line(error)}"
        raise UsageError(f"encoder '{path}': {said}") from error
    if not hasattr(home, name):
        near = did_you_mean(name, [n for n in vars(home) if not n.startswith("_")])
        raise UsageError(f"encoder '{path}': module '{where}' has no '{name}'{near}")
    return getattr(home, name)


def _build(path: str, factory: object, size: int) -> object:
    if not callable(factory):
        raise UsageError(f"encoder '{path}' is of type {type(factory).__name__}: name a torch.nn.Module or a function")
    arguments = {"size": size} if _takes_size(factory) else {}
    try:
        return factory(**arguments)
    except Exception as error:
        call = f"{path}({', '.join(f'{k}={v}' for k, v in arguments.items())})"
        raise UsageError(
            f"encoder {call} fails with {type(error).__name__}: {_line(error)}; only an argument named size is given"
        ) from error


def _takes_size(factory: object) -> bool:
    try:
        return "size" in inspect.signature(factory).parameters  # ty: ignore[invalid-argument-type]
    except (TypeError, ValueError):  # written in C, without a signature
        return False


def _line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), "no message")
