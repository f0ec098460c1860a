"""Only what every test needs: where the real data lie."""

from pathlib import Path

import pytest

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def data() -> Path:
    """Return the folder of real data, or skip."""
    if not DATA.is_dir():
        pytest.skip("the real data (../shared/data) are not here")
    return DATA
