"""The body of a `%%hwprune` cell: the cell is the fine-tune step, and its last expression is the score."""

import ast
import contextlib
from collections.abc import Callable, Iterator
from numbers import Real
from types import TracebackType
from typing import Any

from IPython.core.error import UsageError

from ..core.errors import InputError, first_line
from ..core.interrupts import unbroken

NUMBER = "End the cell with an expression that gives one number, higher is better, such as accuracy({name})"


class Cell:
    """Runs the cell in the user's own namespace, with the model's name bound to the pruned copy meanwhile.

    Functions of the user that read the name see the copy too, and so do magics in the cell such as `%time`. `raised` is
    the exception that the user's code raised, with the traceback `frames` from the cell down.
    """

    def __init__(self, shell: Any, text: str, name: str, *, scores: bool) -> None:
        if not name.isidentifier():
            raise InputError(f"The cell needs a variable for the pruned copy, and {name} is not one: net = {name}")
        self.shell, self.name, self.scores = shell, name, scores
        source = shell.transform_cell(text)
        number = getattr(shell.displayhook.exec_result, "execution_count", None) or shell.execution_count
        file = shell.compile.cache(source, number, raw_code=text)  # so that tracebacks show the cell
        try:
            tree = shell.transform_ast(shell.compile.ast_parse(source, file))
            last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
            self._body = shell.compile(tree, file, "exec")
            self._last = None if last is None else shell.compile(ast.Expression(last.value), file, "eval")
        except SyntaxError as error:
            where = f", in its line {error.lineno}: {error.text}" if error.text else ""
            raise InputError(f"The cell under %%hwprune cannot be read: {error.msg}{where}") from None
        except (ValueError, RecursionError, MemoryError) as error:  # NUL bytes, brackets too deep
            raise InputError(f"The cell under %%hwprune cannot be read: {first_line(error)}") from None
        if last is None and not tree.body:
            raise UsageError("The cell under %%hwprune is the fine-tune step, but it is empty; %hwprune needs none")
        self.expression = "" if last is None else ast.unparse(last.value)
        self._says_name = last is not None and name in {n.id for n in ast.walk(last) if isinstance(n, ast.Name)}
        self.value: Any = None
        self.raised: BaseException | None = None
        self.frames: TracebackType | None = None

    def finetune(self, model: Any) -> None:
        """Run the cell on the copy; raises InputError for a score that is no number, and the user's own errors."""
        with self._meaning(model):
            try:
                exec(self._body, self.shell.user_global_ns, self.shell.user_ns)  # noqa: S102 - the user's own cell
                self.value = self._last and eval(self._last, self.shell.user_global_ns, self.shell.user_ns)  # noqa: S307
            except BaseException as error:
                self.raised, self.frames = error, error.__traceback__ and error.__traceback__.tb_next
                raise
        if self.scores and self.value is not None:
            self._check_score()

    def as_score(self) -> Callable[[Any], Any]:
        """Return the last expression as a score of any model; None if it was None when the cell ran."""

        def score(model: Any) -> Any:
            if self.value is None or self._last is None:
                return None
            with self._meaning(model):
                return eval(self._last, self.shell.user_global_ns, self.shell.user_ns)  # noqa: S307

        score.__name__ = self.expression
        return score

    def _check_score(self) -> None:
        cure = NUMBER.format(name=self.name)
        if not isinstance(self.value, Real) and getattr(self.value, "shape", None) not in ((), (1,)):
            raise InputError(
                f"The cell's last expression, {self.expression}, is its score, but it gives a "
                f"{type(self.value).__name__}. {cure}, or assign it to a name if it is not meant as a score."
            )
        if not self._says_name:
            raise InputError(
                f"The cell's last expression, {self.expression}, is its score, but it does not contain {self.name}, so "
                f"it could not score the dense model. {cure}."
            )

    @contextlib.contextmanager
    def _meaning(self, model: Any) -> Iterator[None]:
        """Bind the model's name to the copy, and restore the binding afterwards."""
        namespace = self.shell.user_ns
        own = namespace[self.name]
        namespace[self.name] = model
        try:
            yield
        finally:
            namespace[self.name] = own

    @contextlib.contextmanager
    def all_or_nothing(self) -> Iterator[None]:
        """Restore the names that the cell has bound if the run fails."""
        namespace = self.shell.user_ns
        before = dict(namespace)
        try:
            yield
        except BaseException:
            with unbroken():
                for name in set(namespace) - set(before):
                    del namespace[name]
                namespace.update(before)
            raise
