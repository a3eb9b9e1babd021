"""Where MLflow shows a run and its stages, as addresses to follow once its server is up."""

import contextlib
import os
from urllib.parse import urlsplit

from decofuse.reports.run_report import Tracked
from decofuse.tracking.run import PARENT_RUN

LOCAL = "http://127.0.0.1:5000"  # where `make ui` serves a local database


def find_tracked() -> Tracked | None:
    """The pages of the reproduction that this process is a stage of.

    None if there is none, or if the tracking server does not answer: tracking never decides whether a stage succeeds.
    """
    uri, parent = os.environ.get("MLFLOW_TRACKING_URI", ""), os.environ.get(PARENT_RUN, "")
    if not uri or not parent:
        return None
    with contextlib.suppress(Exception):
        import mlflow  # costs 1.4 s; only a run that is tracked pays it

        client = mlflow.MlflowClient(uri)
        experiment = client.get_run(parent).info.experiment_id
        children = client.search_runs(
            [experiment], f"tags.`mlflow.parentRunId` = '{parent}'", order_by=["attributes.start_time"]
        )
        server = _without_password(uri) if uri.startswith(("http://", "https://")) else LOCAL
        runs = f"{server}/#/experiments/{experiment}/runs"
        stages = {child.info.run_name: f"{runs}/{child.info.run_id}" for child in children}
        return Tracked({"this run": f"{runs}/{parent}", "all runs": runs}, stages)
    return None


def _without_password(address: str) -> str:
    """An address without name and password: the report is handed on."""
    parts = urlsplit(address)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl().rstrip("/")
