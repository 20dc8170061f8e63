"""Silence for other people's libraries: what they log, warn of, print and set is not the user's."""

import contextlib
import io
import logging
import os
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep warnings, log lines below errors, prints and new environment variables out of the user's notebook."""
    environment, level = set(os.environ), logging.root.manager.disable
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(level)
            for name in set(os.environ) - environment:
                del os.environ[name]
