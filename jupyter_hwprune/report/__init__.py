"""The result of a run as frozen data, which the magics, the renderers and the lab extension share.

Every number has an `Evidence`; a number that was not measured is `None`, never 0.
Names of times end in their unit: `_ms` for a batch through the whole model, `_us` for one layer.
"""

# every public name of these files is one of this package
from .blockwise import *  # noqa: F403
from .corners import *  # noqa: F403
from .hotspots import *  # noqa: F403
from .layers import *  # noqa: F403
from .measurement import *  # noqa: F403
from .mistake import *  # noqa: F403
from .next_step import *  # noqa: F403
from .older import OLDER_VERSION as OLDER_VERSION
from .recovery import *  # noqa: F403
from .report import *  # noqa: F403
from .runtimes import *  # noqa: F403
from .search import *  # noqa: F403
from .step import *  # noqa: F403
from .trial import *  # noqa: F403
