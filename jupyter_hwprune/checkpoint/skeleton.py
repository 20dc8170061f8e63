"""A transformers model without its weights: which modules are its blocks, and where each weight of them is stored."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from ..core.errors import InputError, first_line
from ..core.torch_state import own_torch_state
from .source import Source


@dataclass(frozen=True)
class Skeleton:
    """`blocks` are the modules' names in the order in which they run; `stored` the file's name of each tensor."""

    model: nn.Module
    source: Source
    blocks: tuple[str, ...]
    stored: Mapping[str, str]

    @classmethod
    @own_torch_state()
    def of(cls, source: Source) -> Skeleton:
        """Build the model of the folder's configuration; raises InputError where transformers, or we, cannot."""
        model = _built(source)
        lists = {n: m for n, m in model.named_modules() if isinstance(m, nn.ModuleList) and len(m) > 0}
        if not lists:
            raise InputError(
                f"{type(model).__name__} has no list of blocks, and --from prunes a model block by block. Load it with "
                "from_pretrained, and prune it in memory: %hwprune model --input ids."
            )
        path = max(lists, key=lambda name: sum(p.numel() for p in lists[name].parameters()))
        blocks = tuple(f"{path}.{at}" for at in range(len(lists[path])))
        stored = _stored(model, source)
        for name in (n for n, _ in model.named_parameters(remove_duplicate=False) if n.startswith(f"{path}.")):
            if name not in stored:
                raise InputError(
                    f"The files in {source.folder} hold no tensor {name}: transformers puts the weights of "
                    f"{type(model).__name__} together only while it loads them. Load it with from_pretrained, write it "
                    "with save_pretrained(..., save_original_format=False), and give that folder."
                )
        return cls(model.eval(), source, blocks, stored)

    @property
    def of_blocks(self) -> list[list[str]]:
        """Return the files' names of each block's tensors."""
        return [[own for name, own in self.stored.items() if name.startswith(f"{block}.")] for block in self.blocks]

    @property
    def rest(self) -> list[str]:
        """Return the files' names of all tensors outside of the blocks."""
        inside = {name for names in self.of_blocks for name in names}
        return [name for name in self.source.tensors if name not in inside]

    def fill(self, name: str, *, recurse: bool = True) -> nn.Module:
        """Read a module's weights into it, in float32, and return it."""
        module = self.model.get_submodule(name)
        own: list[tuple[str, Tensor]] = [
            *((n, p) for n, p in module.named_parameters(recurse=recurse, remove_duplicate=False) if p.is_meta),
            *((n, b) for n, b in module.named_buffers(recurse=recurse) if f"{name}.{n}".lstrip(".") in self.stored),
        ]
        for inner, before in own:
            tensor = self.source.read(self.stored[f"{name}.{inner}".lstrip(".")])
            tensor = tensor.float() if tensor.is_floating_point() else tensor
            parameter = isinstance(before, nn.Parameter)
            _set(module, inner, nn.Parameter(tensor, requires_grad=False) if parameter else tensor)
        return module

    def empty(self, name: str, *, recurse: bool = True) -> None:
        """Take a module's weights out of memory again."""
        module = self.model.get_submodule(name)
        for inner, parameter in list(module.named_parameters(recurse=recurse, remove_duplicate=False)):
            _set(module, inner, _meta(parameter))

    @contextmanager
    def standing_in(self, forward: Callable[[str], Callable[..., Any]]) -> Iterator[None]:
        """Let `forward` of a block's name run in each block's place; other modules get their weights once called."""
        blocks = [self.model.get_submodule(name) for name in self.blocks]
        inside = {id(module) for block in blocks for module in block.modules()}
        handles: list[RemovableHandle] = []
        filled: list[str] = []

        def fill(name: str) -> Callable[..., None]:
            def hook(*_: Any) -> None:
                if any(p.is_meta for p in self.model.get_submodule(name).parameters(recurse=False)):
                    self.fill(name, recurse=False)
                    filled.append(name)

            return hook

        try:
            for name, module in self.model.named_modules():
                if id(module) not in inside and next(module.parameters(recurse=False), None) is not None:
                    handles.append(module.register_forward_pre_hook(fill(name)))
            for name, block in zip(self.blocks, blocks, strict=True):
                vars(block)["forward"] = forward(name)
            yield
        finally:
            for block in blocks:
                vars(block).pop("forward", None)
            for handle in handles:
                handle.remove()
            for name in filled:
                self.empty(name, recurse=False)


class _WithoutWeights(TorchFunctionMode):
    """Makes what `torch.empty` makes without memory: weights. What is computed, such as frequencies, has values."""

    def __torch_function__(
        self, func: Any, types: Sequence[Any], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.empty:
            kwargs["device"] = "meta"
        return func(*args, **kwargs)


def _built(source: Source) -> nn.Module:
    try:
        import transformers
    except ImportError as error:
        raise InputError(
            "--from builds the model by its configuration with transformers, which is not installed here: "
            "pip install transformers."
        ) from error
    names = source.config.get("architectures") or ()
    name = str(names[0]) if isinstance(names, (list, tuple)) and names else ""
    kind = getattr(transformers, name, None) if name.isidentifier() else None
    if kind is None:
        raise InputError(
            f"transformers {transformers.__version__} has no architecture {name or '(none is named)'}, which "
            f"{source.folder / 'config.json'} asks for; code that comes with a folder is not run. Give the folder of a "
            "model that transformers itself has."
        )
    try:
        config = transformers.AutoConfig.from_pretrained(source.folder, local_files_only=True)
        with _WithoutWeights():
            model: nn.Module = kind(config)
    except Exception as error:
        raise InputError(
            f"transformers cannot build {name} from {source.folder / 'config.json'}: {first_line(error)}. Give a "
            "folder as save_pretrained writes it."
        ) from error
    if getattr(config, "is_encoder_decoder", False):
        raise InputError(
            f"{name} has an encoder and a decoder, and --from carries activations through one row of blocks. Load it "
            "with from_pretrained, and prune it in memory: %hwprune model --input inputs."
        )
    for inner, parameter in list(model.named_parameters(remove_duplicate=False)):
        _set(model, inner, _meta(parameter))
    return model


def _stored(model: nn.Module, source: Source) -> dict[str, str]:
    """Find each tensor of the model in the files: by its name, or with or without the prefix of the base model."""
    prefix = f"{getattr(model, 'base_model_prefix', '')}."
    found = {}
    named = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
    for name, tensor in named:
        for candidate in (name, name.removeprefix(prefix), prefix + name):
            if candidate in source.tensors:
                if source.tensors[candidate].shape != tuple(tensor.shape):
                    raise InputError(
                        f"{candidate} in {source.folder} has the shape {list(source.tensors[candidate].shape)}, and by "
                        f"config.json it has {list(tensor.shape)}: the two are not of one model. Copy the folder again."
                    )
                found[name] = candidate
                break
        else:
            if tensor.is_meta and not isinstance(tensor, nn.Parameter):
                raise InputError(
                    f"{name} of {type(model).__name__} is no weight, is not in the files, and gets its values while "
                    "transformers loads the model. Load it with from_pretrained, and prune it in memory."
                )
    return found


def _meta(parameter: nn.Parameter) -> nn.Parameter:
    return nn.Parameter(torch.empty_like(parameter, device="meta"), requires_grad=False)


def _set(module: nn.Module, name: str, value: Any) -> None:
    path, _, own = name.rpartition(".")
    setattr(module.get_submodule(path), own, value)
