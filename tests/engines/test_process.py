"""Processes of ours load no pandas, whatever is installed; processes of others are left alone."""

import importlib.util
import subprocess
import sys
from importlib import metadata

import pytest

from pipeline.engines.execution import ProcessExecutor

ARRAYS = "import pyarrow as pa, numpy as np; pa.array(np.arange(3)); pa.array([1, 2]); import sys; "
TOLD = "print('pandas' in sys.modules)"


def told_by(code):
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()


@pytest.mark.skipif("pandas" not in metadata.packages_distributions(), reason="pandas is not installed")
def test_a_prepared_process_loads_no_pandas():
    prepared = "from pipeline.engines.process import prepare_process; prepare_process(); prepare_process(); "
    assert told_by(prepared + ARRAYS + TOLD) == ["False"]
    assert told_by(ARRAYS + TOLD) == ["True"], "otherwise there is nothing to prevent"


def test_importing_the_library_changes_nothing_for_others():
    code = "import sys; before = list(sys.meta_path); import pipeline.streaming.reader; print(before == sys.meta_path)"
    assert told_by(code) == ["True"]


def test_workers_are_prepared_and_so_is_the_command():
    with ProcessExecutor(2) as executor:
        assert dict(executor.map([prevents, prevents])) == {0: True, 1: True}
    source = importlib.util.find_spec("pipeline.__main__").loader.get_source("pipeline.__main__")
    assert source.index("    prepare_process()") < source.index("import run_and_exit")


def prevents():
    return any(finder.__name__ == "_WithoutPandas" for finder in sys.meta_path if isinstance(finder, type))
