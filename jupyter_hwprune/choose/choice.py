"""Check every option, fill in every default, and choose the judge: the toolchain that measures the target."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from ..core.errors import InputError
from ..core.nearest import did_you_mean
from ..core.pattern import NM, Depth, Pattern, parse_pattern
from ..core.target import TARGETS, Judge, Target, find_target
from ..report import Evidence, LeftOut
from ..toolchains import Device, Status, manifest_of, probe_all, toolchain_file
from .checks import Options, check_method, check_sparsity, check_whole_number, either

Way = Literal["run", "compile"]
WAYS: tuple[Way | None, ...] = ("run", "compile", None)  # the best first
INT8 = "int8"  # what a toolchain quantises to
ALL = "all"  # toolchains
BLOCKS_AT_FIRST = 0.25  # the share of blocks that goes where none is asked for
DTYPE_ALIASES = {"fp32": "float32", "fp16": "float16", "half": "float16", "bf16": "bfloat16", "fp8": "float8"}


@dataclass(frozen=True)
class Able:
    """A toolchain of the target, the most it can do here, and why it cannot do more.

    `remarks` tell the user about the choice if this one is taken. `status` is what its probe found.
    """

    judge: Judge
    way: Way | None
    obstacle: Evidence | None
    remarks: tuple[str, ...] = ()
    status: Status | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Choice(Options):
    """The checked options. `dtype` is the data type of the dense and the pruned model, None for the model's own.

    `quantise` is the data type of the twins that both are quantised to and measured with, None for none.

    `dense` names the layers to leave unpruned. `way` is the most the judge can do here: run, only compile, or nothing
    (None); `obstacle` says why it cannot run. `remarks` tell the user about the choice. `others` are the target's other
    toolchains, the best first, for a model that suits one of them better; none if the user named a toolchain. `every`
    are all of them where all were asked for, also those that stay out. `status` is what the judge's probe found here.
    """

    target: Target
    judge: Judge
    dtype: str | None
    pattern: Pattern
    sparsity: float
    dense: tuple[str, ...]
    way: Way | None
    obstacle: Evidence | None
    remarks: tuple[str, ...]
    others: tuple[Able, ...] = ()
    quantise: str | None = None
    status: Status | None = field(default=None, compare=False)
    every: tuple[Able, ...] = ()
    config: tuple[str, ...] = ()  # the parts of the chip's configuration that were asked for
    suffix: str = ""  # of the files that are written for another runtime than the report's

    @property
    def configured(self) -> tuple[str, ...]:
        """One value of each part of the chip's configuration."""
        return self.judge.configured(self.config)

    @property
    def quantises(self) -> bool:
        """Whether inputs are needed to quantise with: for int8 twins, or in the judge's own compilation."""
        if self.quantise is not None or self.way is None or self.dtype not in {None, INT8}:
            return self.quantise is not None
        return manifest_of(self.judge.toolchain).calibrates

    @property
    def found(self) -> Device | None:
        """The judge's device on this machine; None where it has none."""
        return None if self.status is None else self.status.devices.get(self.judge.device)

    def beside(self) -> tuple[tuple[Choice, ...], tuple[LeftOut, ...]]:
        """Return this choice for each of the other runtimes, where all were asked for, and those that stay out."""
        taken, left_out = [], []
        for each in self.every:
            name = each.judge.toolchain
            if name == self.judge.toolchain:
                continue
            why = _why_not(each, self.dtype)
            if why is None:
                taken.append(replace(self, **vars(each), others=(), every=(), suffix=f"-{name}"))
            else:
                left_out.append(LeftOut(name, *why))
        return tuple(taken), tuple(left_out)

    def with_each_toolchain(self) -> tuple[Choice, ...]:
        """Return this choice, and the same with each of the others that runs the dtype, if one was asked for."""
        asked = self.quantise or self.dtype
        fitting = (each for each in self.others if asked is None or runs(each.judge, asked))
        return (self, *(replace(self, **vars(each), others=()) for each in fitting))

    def for_model_in(self, dtype: str) -> Choice:
        """Fill in a missing dtype: the model's own if the judge runs it, else the judge's default."""
        if self.dtype is not None:
            return self
        usual = self.judge.dtypes
        manifest = manifest_of(self.judge.toolchain) if self.way and not usual else None
        if manifest is not None and not manifest.converts and dtype in manifest.in_float32:
            said = (
                f"The model is in {dtype}. {self.judge.toolchain} computes in float32, so both models were exported, "
                f"checked and timed in float32; the pruned model that is returned stays in {dtype}."
            )
            return replace(self, dtype="float32", remarks=(*self.remarks, said))
        if not usual or dtype in usual:
            return replace(self, dtype=dtype)
        said = f"Dense and pruned run in {usual[0]}, as {self.judge.toolchain} computes for {self.target.name}."
        if self.judge.kernels is not None and not manifest_of(self.judge.toolchain).calibrates:
            said = f"Dense and pruned run in {usual[0]}: {self.judge.toolchain} has no sparse kernels for {dtype}."
        return replace(self, dtype=usual[0], remarks=(*self.remarks, said))


def choose(
    target: str,
    *,
    pattern: str | None = None,
    sparsity: float | None = None,
    dense: Sequence[str] = (),
    toolchain: str | None = None,
    dtype: str | None = None,
    config: Sequence[str] = (),
    looking: Callable[[], None] = lambda: None,
    **others: Any,
) -> Choice:
    """Check the options, the `others` of which are those of `Options`, and choose a toolchain; raises InputError.

    `looking` is called before the toolchains are looked for on this machine, which may take seconds.
    """
    for name, value in (("target", target), ("pattern", pattern), ("toolchain", toolchain), ("dtype", dtype)):
        if value is not None and not isinstance(value, str):
            raise InputError(f"--{name} is {value!r} of type {type(value).__name__}; it has to be a string.")
    row, named = find_target(target)
    if named and toolchain and named != toolchain:
        raise InputError(
            f"--target {target} names the toolchain {named}, but --toolchain is {toolchain}. Give one of them."
        )
    options = Options(**others)
    given = None if pattern is None else parse_pattern(pattern)
    check_sparsity(sparsity, given)

    asked = toolchain or named
    looking()
    able, cores = _judges(row, None if asked == ALL else asked, dtype and DTYPE_ALIASES.get(dtype, dtype))
    judge = able[0].judge
    if options.rpc is not None:
        able, cores = [_on_board(able[0], row, options)], None
    check_whole_number("threads", options.threads, most=cores)
    if options.tune_kernels is not None:
        able = _tuners(able, row, options.tune_kernels)
    chosen = given or judge.offers[0].pattern
    check_method(chosen, options)
    check_sparsity(sparsity, chosen)
    names = (dense,) if isinstance(dense, str) else tuple(dense)
    if not all(isinstance(name, str) and name for name in names):
        raise InputError(f"--dense is {dense!r}; it takes the names of layers, such as head or layers.0.*")
    own = _dtype(dtype, judge, row)
    quantise = own if own is not None and own not in judge.dtypes else None
    if asked == ALL and quantise is not None:
        raise InputError(
            f"--toolchain all times each runtime in float, and --dtype {dtype} times four models in one. Name the "
            f"toolchain, such as --toolchain {judge.toolchain}, or remove --dtype."
        )
    if options.int8_error is not None:
        able = _limiting(able, row, options.int8_error, quantise)
    by_name = [Able(each, None, None) for each in row.judges if each.by_name is not None]
    return Choice(
        target=row,
        **vars(able[0]),
        dtype=own if quantise is None else None,
        pattern=chosen,
        sparsity=sparsity or usual_share(judge, chosen),
        dense=names,
        others=tuple(able[1:]),
        quantise=quantise,
        every=(*able, *by_name) if asked == ALL else (),
        config=_config(config, judge, row),
        **vars(options),
    )


def _on_board(first: Able, row: Target, options: Options) -> Able:
    """Return a toolchain that runs on a board that it reaches itself; raises InputError if it reaches none."""
    if not _reaches(first.judge):
        others = [f"--toolchain {each.toolchain}" for each in row.judges if _reaches(each)]
        cure = f"Take {either(others) if len(others) > 1 else others[0]}" if others else "Remove it"
        raise InputError(f"--rpc {options.rpc}: {first.judge.toolchain} has no server for a board. {cure}.")
    if first.status is None or not first.status.available:
        return first
    device = Device(row.kind, row.identities, f"the board at {options.rpc}")
    status = replace(first.status, devices={**first.status.devices, first.judge.device: device})
    return replace(first, way="run", obstacle=None, status=status)


def _reaches(judge: Judge) -> bool:
    return manifest_of(judge.toolchain).reaches


def _tuners(able: Sequence[Able], row: Target, seconds: float) -> list[Able]:
    """Return the toolchains that tune; raises InputError if the first one, which was chosen, cannot."""
    first, asked = able[0], f"--tune-kernels {seconds:g}"
    if not _tunes(first.judge):
        others = [f"--toolchain {each.toolchain}" for each in row.judges if _tunes(each)]
        cure = f"Take {either(others) if len(others) > 1 else others[0]}" if others else "Remove it"
        raise InputError(f"{asked}: {first.judge.toolchain} does not tune its kernels. {cure}.")
    if first.way == "compile" and first.obstacle is not None:
        raise InputError(
            f"{asked} times schedules on {row.chip}, and here {first.judge.toolchain} cannot: {first.obstacle.reason}. "
            f"Remove it here; cure: {first.obstacle.cure}."
        )
    return [each for each in able if _tunes(each.judge)]


def _tunes(judge: Judge) -> bool:
    return manifest_of(judge.toolchain).tunes


def _limiting(able: Sequence[Able], row: Target, error: float, quantise: str | None) -> list[Able]:
    """Return the toolchains that keep int8 within an error; raises InputError if the one that was chosen cannot."""
    asked = f"--int8-error {error:g}"
    if quantise is None:
        raise InputError(
            f"{asked} limits how far int8 moves the outputs on a CPU, and nothing is quantised here. "
            f"Add --dtype int8, or remove {asked}."
        )
    if not _limits(judge := able[0].judge):
        others = [f"--toolchain {each.toolchain}" for each in row.judges if _limits(each)]
        cure = f"Take {either(others) if len(others) > 1 else others[0]}" if others else "Remove it"
        raise InputError(f"{asked}: {judge.toolchain} cannot choose which layers stay in float. {cure}.")
    return [each for each in able if _limits(each.judge)]


def _limits(judge: Judge) -> bool:
    return manifest_of(judge.toolchain).limits_error


def _why_not(able: Able, dtype: str | None) -> tuple[str, str | None] | None:
    """Say why a runtime cannot stand beside another one, and what cures it; None if it can."""
    judge, obstacle = able.judge, able.obstacle
    alone = f"`--toolchain {judge.toolchain}` measures with it"
    if judge.by_name is not None:
        return f"it is used only when named: {judge.by_name}", alone
    if able.way != "run":
        return ("it runs no models here", None) if obstacle is None else (str(obstacle.reason), obstacle.cure)
    if judge.dtypes and dtype not in judge.dtypes:
        return f"it runs {either(judge.dtypes)}, and not {dtype}", None
    manifest = manifest_of(judge.toolchain)
    if manifest.rates and not manifest.chooses_kernels:
        return "it decides layer by layer what stays pruned, so its pruned model is a different one", alone
    return None


def usual_share(judge: Judge, pattern: Pattern) -> float:
    """Return the share that a pattern removes where none is asked for."""
    if isinstance(pattern, NM):
        return pattern.sparsity
    if isinstance(pattern, Depth):
        return BLOCKS_AT_FIRST
    return next((each for each in judge.offers if each.pattern == pattern), judge.offers[0]).sparsity


def _config(asked: Sequence[str], judge: Judge, row: Target) -> tuple[str, ...]:
    """Check the parts of the chip's configuration: known ones, and one value of each at most."""
    given = (asked,) if isinstance(asked, str) else tuple(asked)
    if given and not judge.configs:
        raise InputError(f"--config is {', '.join(given)}, but {row.name} has no configurations. Remove --config.")
    known = [value for part in judge.configs for value in part]
    for each in given:
        if each not in known:
            near, parts = did_you_mean(each, known), "; ".join(map(", ".join, judge.configs))
            raise InputError(f"{row.name} has no configuration {each!r}.{near} Give one of each of these: {parts}.")
    for part in judge.configs:
        if len(both := [each for each in given if each in part]) > 1:
            raise InputError(f"--config names {' and '.join(both)}, of which {row.name} has one. Give one of them.")
    return given


def _dtype(asked: str | None, judge: Judge, row: Target) -> str | None:
    if asked is None:
        return None
    name = DTYPE_ALIASES.get(asked, asked)
    known = dtypes_of(judge)
    if name in known:
        return name
    others = [f"--toolchain {each.toolchain}" for each in row.judges if runs(each, name)]
    cure = f" For {asked} take {either(others) if len(others) > 1 else others[0]}." if others else ""
    if not known:
        raise InputError(f"{judge.toolchain} keeps the model's own dtype; remove --dtype {asked}.{cure}")
    near = "" if cure else did_you_mean(asked, [*known, *DTYPE_ALIASES])
    raise InputError(f"{judge.toolchain} does not run {asked} on this target.{near} It runs: {', '.join(known)}.{cure}")


def dtypes_of(judge: Judge) -> tuple[str, ...]:
    """Return what --dtype takes with a judge: the dtypes that it runs, and int8 where it quantises."""
    quantises = manifest_of(judge.toolchain).quantises is not None
    return (*judge.dtypes, INT8) if quantises and INT8 not in judge.dtypes else judge.dtypes


def runs(judge: Judge, dtype: str) -> bool:
    return dtype in dtypes_of(judge)


def _judges(row: Target, named: str | None, dtype: str | None) -> tuple[list[Able], int | None]:
    """Order the target's toolchains: first those that run here, then those that compile, each as the row prefers them.

    Those that do not run the `dtype` are left out, unless none does. With one `named`, there is that one alone; no
    other that is taken only by its name is among them. Returns them with the number of cores that the first one may
    use.
    """
    judges = [each for each in row.judges if each.by_name is None] if named is None else [_named_judge(row, named)]
    if dtype is not None:
        judges = [judge for judge in judges if runs(judge, dtype)] or judges
    statuses = probe_all(judge.toolchain for judge in judges)
    probed = [(judge, statuses[judge.toolchain]) for judge in judges]
    found = [Able(judge, *what_it_can(row, judge, status), status=status) for judge, status in probed]
    told = [replace(own, remarks=tuple(_told(row, own, found[:i]))) for i, own in enumerate(found)]
    told.sort(key=lambda each: WAYS.index(each.way))  # stable
    return told, statuses[told[0].judge.toolchain].cores


def _told(row: Target, own: Able, before: Sequence[Able]) -> Iterator[str]:
    """Name the toolchains passed over for this one."""
    for each in before:
        if each.obstacle is not None and WAYS.index(each.way) > WAYS.index(own.way):
            yield f"{each.judge.toolchain} is preferred for {row.name}, but could not be used: {each.obstacle.reason}"


def _named_judge(row: Target, named: str) -> Judge:
    for judge in row.judges:
        if judge.toolchain == named:
            return judge
    toolchain_file(named)  # raises for a name that does not exist at all
    if "." in named:
        return replace(row.judges[0], toolchain=named)
    served = ", ".join(judge.toolchain for judge in row.judges)
    near = did_you_mean(named, [judge.toolchain for judge in row.judges])
    raise InputError(f"The target {row.name} has no toolchain {named}.{near} Its toolchains are: {served}.")


def what_it_can(row: Target, judge: Judge, status: Status) -> tuple[Way | None, Evidence | None]:
    """Return the most a judge can do for a target on this machine, and why it cannot run models there."""
    if not status.available:
        return None, Evidence("unavailable", reason=status.reason, cure=status.cure)
    manifest, device = manifest_of(judge.toolchain), status.devices.get(judge.device)
    elsewhere = f"run the same line on a machine with {row.chip}"
    if not manifest.runs:
        reason = f"{judge.toolchain} compiles for {row.chip}, but runs no models"
        cure = "time the compiled files on the device itself"
    elif device is None:
        there = ", ".join(status.devices) or "none"
        reason = status.absent.get(judge.device) or f"no device {judge.device} was found here (found: {there})"
        cure = judge.cure or f"{elsewhere} and its driver"
    elif fits(row, device):
        return "run", None
    else:
        fitting = [other.name for other in TARGETS if other.identities and fits(other, device)]
        reason = f"the device here is {device.label} ({device.identities[-1]}), but {row.chip} is "
        reason += f"{' or '.join(row.identities) or row.kind}: times on one say nothing about the other"
        cure = f"use --target {fitting[0]}" if fitting and row.kind == device.kind != "cpu" else elsewhere
    known = not status.absent or judge.device in {*status.devices, *status.absent}  # a probe may list them all
    way: Way | None = "compile" if manifest.cross_compiles and known else None
    return way, Evidence("unavailable", reason=reason, cure=cure)


def fits(row: Target, device: Device) -> bool:
    """Say whether a time measured on the device counts for the target."""
    known = {*row.identities, *row.alike}
    return row.kind == device.kind and (not known or bool(known & set(device.identities)))
