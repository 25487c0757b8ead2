"""The tracker of this plugin keeps what every tracker promises."""

import shutil

import pytest

from ponder.testing import TrackerSuite


class TestMlflow(TrackerSuite):
    type = "mlflow"

    @pytest.fixture(autouse=True)
    def _database(self, migrated):
        """MLflow's tables take seconds to make."""
        if not (self.runs() / "mlflow.db").exists():
            shutil.copy(migrated, self.runs() / "mlflow.db")
