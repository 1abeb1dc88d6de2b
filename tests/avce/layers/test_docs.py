"""What docs/layers.md shows runs, and its example trains."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).parents[3] / "docs" / "layers.md"


def test_the_example_of_the_page_trains():
    (source,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    source = source.replace("from avce import OptLayer", "from avce.layers import OptLayer")
    exec(compile(source, str(PAGE), "exec"), {})
