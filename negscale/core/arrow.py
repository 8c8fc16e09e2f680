"""Arrow's compute functions. They are made when pyarrow is imported, so that a type checker cannot see them: `Any`."""

from __future__ import annotations

from typing import Any

import pyarrow.compute

compute: Any = pyarrow.compute
