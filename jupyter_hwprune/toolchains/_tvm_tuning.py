"""MetaSchedule, TVM's own tuner: try schedules of each kernel on this machine, and keep the fastest ones.

What was found is kept in one file: by TVM's version and the target, then by the kernel's structure. So a kernel that
dense and pruned share is tuned once, and a later run tunes only what is new to it. No cost model is learnt, since a few
seconds a kernel are too few trials for one: TVM's evolutionary search mutates the fastest schedules at random.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
import types
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .contract import Settings

BATCH = 8  # schedules that are tried together
KEPT = 4  # of the fastest schedules of a kernel, to go on from
TRIAL_S = 10  # a schedule that takes longer is none
SEED = 7
FOREIGN = ("cuda", "hexagon", "metal", "rocm", "riscv_cpu")  # instructions whose import takes 13 s of CPU time


class Kept:
    """The schedules that are known for one target, with the seconds and trials that each kernel has had.

    TVM writes and reads them itself, as lines of two files: a kernel, and a schedule with the number of its kernel.
    """

    def __init__(self, target: Any, settings: Settings, folder: str) -> None:
        from importlib.metadata import version

        self.path, self.key, self.folder = settings["cache"], version("apache-tvm") + " " + str(target), folder
        self.rows = self._file().get(self.key, {})
        kernels, records = [], []
        for number, row in enumerate(self.rows.values()):
            kernels.append(row["kernel"])
            records += [json.dumps([number, json.loads(each)[1]]) for each in row["records"]]
        self.database, _ = self._database(kernels, records)

    def name_of(self, kernel: Any) -> str:
        return str(self.database.commit_workload(kernel).as_json()[0])

    def seconds(self, name: str) -> float:
        return float(self.rows[name]["s"]) if name in self.rows else 0.0

    def trials(self, name: str) -> int:
        return int(self.rows[name]["trials"]) if name in self.rows else 0

    def has_schedule(self, name: str) -> bool:
        return name in self.rows and bool(self.rows[name]["records"])

    def add(self, kernel: Any, seconds: float, trials: int) -> None:
        """Write what was found for a kernel, in one move, beside what other runs have written."""
        from tvm.s_tir import meta_schedule as ms

        name = self.name_of(kernel)
        alone, paths = self._database()
        workload = alone.commit_workload(kernel)
        for each in self.database.get_top_k(self.database.commit_workload(kernel), KEPT):
            own = (each.trace, workload, each.run_secs, each.target, each.args_info)
            alone.commit_tuning_record(ms.database.TuningRecord(*own))
        (line,), records = (_lines(each) for each in paths)
        total = {"s": self.seconds(name) + seconds, "trials": self.trials(name) + trials}
        self.rows[name] = dict(total, kernel=line, records=records)
        file = self._file()
        file.setdefault(self.key, {})[name] = self.rows[name]
        os.makedirs(os.path.dirname(self.path), exist_ok=True)
        part = "%s.%d.part" % (self.path, os.getpid())
        with open(part, "w", encoding="utf-8") as out:
            json.dump(file, out)
        os.replace(part, self.path)

    def _file(self) -> dict[str, Any]:
        try:
            with open(self.path, encoding="utf-8") as file:
                return dict(json.load(file))
        except (OSError, ValueError):  # none yet
            return {}

    def _database(self, kernels: Sequence[str] = (), records: Sequence[str] = ()) -> tuple[Any, list[str]]:
        from tvm.s_tir import meta_schedule as ms

        own = tempfile.mkdtemp(dir=self.folder)
        paths = [os.path.join(own, each) for each in ("kernels", "records")]
        for path, lines in zip(paths, (kernels, records)):
            with open(path, "w", encoding="utf-8") as file:
                file.writelines(each + "\n" for each in lines)
        return ms.database.JSONDatabase(*paths), paths


def _lines(path: str) -> list[str]:
    with open(path, encoding="utf-8") as file:
        return [each for each in file.read().splitlines() if each]


def tune(programs: list[Any], target: Any, settings: Settings, folder: str, say: Callable[[str, str], None]) -> None:
    """Tune the kernels of all programs, each for as many of the seconds as any other and for one batch at least."""
    for each in FOREIGN:
        sys.modules.setdefault("tvm.s_tir.tensor_intrin." + each, types.ModuleType(each))
    from tvm.s_tir import meta_schedule as ms

    kept = Kept(target, settings, folder)
    found = [task for each in programs for task in ms.relax_integration.extract_tasks(each, target)]
    tasks = {kept.name_of(task.dispatched[0]): task for task in found}
    due = settings["tune_s"] / max(len(tasks), 1)
    new = {name: task for name, task in tasks.items() if kept.seconds(name) < due}
    if not new:
        return
    os.environ["TVM_NUM_THREADS"] = str(settings["threads"])  # of the process that runs the trials
    once = ms.runner.EvaluatorConfig(number=3, repeat=1, min_repeat_ms=20, enable_cpu_cache_flush=False)
    runner, builder = ms.runner.LocalRunner(timeout_sec=TRIAL_S, evaluator_config=once), _builder(folder)
    search = ms.search_strategy.EvolutionarySearch(population_size=64, init_min_unmeasured=16, genetic_num_iters=2)
    for number, (name, task) in enumerate(new.items()):
        about = "%s, kernel %d of %d" % (task.task_name, number + 1, len(new))
        contexts, weights = ms.relax_integration.extracted_tasks_to_tune_contexts(
            [task], folder, strategy=search, num_threads=1, seed=SEED
        )
        clock = _clock(due - kept.seconds(name), about, say)
        try:
            ms.tune.tune_tasks(
                tasks=contexts,
                task_weights=weights,
                work_dir=folder,
                max_trials_global=10**6,
                num_trials_per_iter=BATCH,
                builder=builder,
                runner=runner,
                database=kept.database,
                cost_model=ms.cost_model.RandomModel(),
                measure_callbacks=[*ms.MeasureCallback.create("default"), clock],
            )
        except RuntimeError:
            if not clock.over:
                raise
        # a kernel that has few schedules is done before its time
        kept.add(task.dispatched[0], max(due, time.perf_counter() - clock.since), clock.trials)


def _clock(seconds: float, about: str, say: Callable[[str, str], None]) -> Any:
    """Return a callback that ends the search of one kernel, which TVM can only be left by an error."""
    from tvm.ir.utils import derived_object
    from tvm.s_tir.meta_schedule.measure_callback import PyMeasureCallback

    @derived_object
    class Clock(PyMeasureCallback):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.since, self.trials, self.over = time.perf_counter(), 0, False
            say("tune", about)

        def apply(self, _scheduler: Any, _task: Any, candidates: Any, _builds: Any, _runs: Any) -> None:
            spent = time.perf_counter() - self.since
            self.trials += len(candidates)
            say("tune", "%s: %d schedules, %.3g of %.3g s" % (about, self.trials, spent, seconds))
            self.over = not candidates or spent >= seconds
            if self.over:
                raise RuntimeError("its time is over")

    return Clock()


def _builder(folder: str) -> Any:
    """Return a builder in this process: TVM's own starts one for each batch, whose imports take longer than it."""
    import tvm.driver
    from tvm.ir.utils import derived_object
    from tvm.s_tir.meta_schedule.builder import BuilderResult, PyBuilder
    from tvm.s_tir.transform import RemoveWeightLayoutRewriteBlock
    from tvm.support.tar import tar

    @derived_object
    class Builder(PyBuilder):  # type: ignore[misc]
        def build(self, inputs: Any) -> list[Any]:
            return [self.built(each) for each in inputs]

        def built(self, one: Any) -> Any:
            path = os.path.join(tempfile.mkdtemp(dir=folder), "kernel.tar")  # which the runner's callback removes
            try:
                plain = RemoveWeightLayoutRewriteBlock(skip_tensor_rewrite=True)(one.mod)
                tvm.driver.build(plain, target=one.target).export_library(path, fcompile=tar)
            except Exception as error:  # noqa: BLE001 - a schedule that does not compile is a bad one
                return BuilderResult(None, str(error))
            return BuilderResult(path, None)

    return Builder()
