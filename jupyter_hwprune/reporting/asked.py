"""What a call of `hwprune` asks for, checked as far as that takes no model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from ..choose.checks import Options, check_goal
from ..core.errors import InputError
from ..core.goal import Goal
from ..core.options import AUTO, OPTIONS, RUN
from ..mistakes import check_codes
from ..pruning.training.recovery import check_recover
from ..pruning.training.schedule import check_schedule
from ..pruning.tuning import check_tune
from ..recipe import RecipeRead, read_recipe
from ..report.requirements import Requirement, read_requirements
from ..report.words.line import expression_of

METHOD = ("pattern", "sparsity", "importance", "solver", "tune_blocks", "allocation", "dense", "permute")
CHOSEN = ("target", "pattern", "sparsity", "dense", "toolchain", "dtype", "config", *(f.name for f in fields(Options)))
LIMITS = tuple(limit.name for limit in fields(Goal))


@dataclass(frozen=True)
class Asked:
    """The arguments of the call, as `given`, and what they ask for; `silent` are codes of mistakes."""

    given: Mapping[str, Any]
    silent: tuple[str, ...]
    requirements: tuple[Requirement, ...]
    goal: Goal | None
    recipe: RecipeRead | None

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Asked:
        """Check the arguments of `hwprune` against each other, and read a recipe; raises InputError."""
        finetune, recover, recipe, calib = (given[name] for name in ("finetune", "recover", "recipe", "calib"))
        silent = check_codes(given["ignore"])
        requirements = () if given["require"] is None else read_requirements(given["require"])
        check_schedule(given["schedule"], given["steps"], finetune, recovers=recover is not None)
        check_recover(recover, calib=calib, has_cell=finetune is not None, has_recipe=recipe is not None)
        goal = Goal.of(**{limit: given[limit] for limit in LIMITS})
        check_goal(goal, given["sparsity"], recipe, given["tune_kernels"])
        train = {"the cell": finetune is not None, "--recover": recover is not None, "a recipe": recipe is not None}
        check_tune(given["tune_blocks"], calib=calib, others=train | {"the search for a goal": goal is not None})
        return cls(given, silent, requirements, goal, None if recipe is None else _recipe(given))

    @property
    def trains(self) -> bool:
        return self.given["finetune"] is not None or self.given["recover"] is not None

    @property
    def at_once(self) -> bool:
        """Whether the model is pruned by one plan, which nothing trains, searches or sets but the options."""
        return not self.trains and self.goal is None and self.recipe is None

    @property
    def chosen(self) -> dict[str, Any]:
        """The arguments of `choose`."""
        chosen = {name: self.given[name] for name in CHOSEN}
        return chosen | {"importance": "magnitude"} if chosen["importance"] == AUTO else chosen

    @property
    def ways(self) -> dict[str, bool]:
        """What is done with the model beside pruning and measuring it, as `prepare` takes it."""
        looks, searches = self.recipe is None, self.goal is not None
        return {
            "looks_at_inputs": looks,
            "searches": searches,
            "trains": self.given["finetune"] is not None,
            "recovers": self.given["recover"] is not None,
            "may_rank": self.given["importance"] == AUTO and self.given["calib"] is not None and self.at_once,
        }

    @property
    def request(self) -> dict[str, Any]:
        """What a report says of the request beside the choice."""
        own = {name: self.given[name] for name in ("schedule", "steps", "recover")}
        named = {"model": self.given["name"], "input": self.given["input_name"], "calib": self.given["calib_name"]}
        return own | named | {"trained": self.trains, "ignore": self.silent}

    @property
    def line(self) -> dict[str, Any]:
        """The words of the magic's line that asks for the same."""
        own = {name: self.given[name] for name, row in OPTIONS.items() if RUN in row.forms and name in self.given}
        named = {"recipe": None, "eval": expression_of(self.given["score"]), "timeout": self.given["timeout_s"]}
        return own | self.request | named | {"cell": self.given["finetune"] is not None}


def _recipe(given: Mapping[str, Any]) -> RecipeRead:
    """Read the recipe, and refuse options that it sets itself."""
    if given["finetune"] is not None:
        raise InputError(
            "A recipe prunes in one step, by its own patterns, and takes no fine-tune step. Use --pattern instead."
        )
    for name in METHOD:
        if given[name] != OPTIONS[name].default and given[name] != []:
            raise InputError(f"--{name} is {given[name]}, but the recipe sets that itself. Give one of the two.")
    return read_recipe(given["recipe"], given["progress"], given["recipe_name"])
