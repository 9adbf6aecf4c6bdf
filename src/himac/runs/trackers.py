"""Services that know a run by an id or a name: Weights & Biases, MLflow, trackio.

Such a service keeps what it was told. A row is therefore counted by its place in metrics.jsonl, a resumed run asks how many
rows have arrived, and each row is told once: those that a kill lost again, those that came through it not. Project, entity
and group are environment variables, the services' own where they have them. Left out: weights and other files; numbers,
settings and tags are sent.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from himac import __version__
from himac.config import Config
from himac.errors import ConfigError, missing_extra
from himac.files import read_text, reason, write_text
from himac.runs.sinks import scalars
from himac.text import line
from himac.toml import flat
from himac.types import Row

PROJECT = "himac"
LEFT_BEHIND = ("wandb-id", "mlflow-id", "trackio-id")
"""Files by which a resumed run finds itself at a service again."""

# that W&B may take at a run's end when its server does not answer; by itself it waits for ever
_UPLOAD_S = 600
# tries of a request: 12 seconds where nobody answers; with MLflow's own 7, four minutes
_MLFLOW_TRIES = "3"
# the metric that counts rows; told in the same transaction as the row
_MLFLOW_ROWS = "himac/rows"
# MLflow's limits: characters of a parameter, parameters of a request
_MLFLOW_LONGEST, _MLFLOW_PARAMS = 6000, 100


class _Tracker(ABC):
    """Tells rows once each."""

    def _go_on(self, kept: Sequence[Row], told: int) -> None:
        """Begin after `told` rows that have arrived; of those that metrics.jsonl kept, tell what is missing."""
        self._told = told
        for self._index, row in enumerate(kept):
            self._once(row)
        self._index = len(kept)

    def write(self, row: Row) -> None:
        """Tell one row, unless it was told before a kill."""
        self._once(row)
        self._index += 1  # after it: a row that fails is written again, and keeps its place

    def _once(self, row: Row) -> None:
        if self._index >= self._told:
            self._send(self._index, row)

    @abstractmethod
    def _send(self, index: int, row: Row) -> None: ...

    @abstractmethod
    def close(self) -> None:
        """Finish, and say at the service whether the run ended or broke off."""


class Wandb(_Tracker):
    """Logs to Weights & Biases.

    Its own environment variables are obeyed: WANDB_PROJECT (else "himac"), WANDB_ENTITY, WANDB_RUN_GROUP, WANDB_NAME,
    WANDB_TAGS (added to ours), WANDB_MODE.

    Args:
        folder: the run's; the id is kept in `wandb-id`.
        config: the run's.
        kept: rows that were written before.
    """

    def __init__(self, folder: Path, config: Config | None = None, kept: Sequence[Row] = ()) -> None:
        wandb = self._package()
        ident = _kept_id(folder / "wandb-id", uuid.uuid4().hex[:12])
        is_offline = wandb.setup().settings.mode == "offline"
        told = _set_aside(folder / "wandb", ident, len(kept)) if is_offline else None
        more = [tag.strip() for tag in os.environ.get("WANDB_TAGS", "").split(",") if tag.strip()]
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=os.environ.get("WANDB_NAME") or folder.resolve().name,
            id=ident, resume="allow", dir=str(folder), config=_settings(config), tags=[*_tags(config), *more],
            settings=wandb.Settings(finish_timeout=_UPLOAD_S),
        )  # fmt: skip
        self._go_on(kept, self._run.step if told is None else told)

    @classmethod
    def require(cls) -> None:
        """See that rows can be sent.

        Raises:
            MissingExtraError: the package is not installed.
            ConfigError: nobody is logged in.
        """
        wandb = cls._package()
        if wandb.setup().settings.mode in ("offline", "disabled"):
            return
        hint = "wandb login, or WANDB_MODE=offline, which keeps everything here for wandb sync"
        try:
            is_known = wandb.login(prompt=False)
        except Exception as error:  # a wrong key, a server that does not answer
            raise ConfigError(f"the sink 'wandb' cannot log in: {line(reason(error))}", hint=hint) from error
        if not is_known:
            raise ConfigError("the sink 'wandb': nobody is logged in to Weights & Biases", hint=hint)

    @staticmethod
    def _package() -> Any:
        try:
            import wandb
        except ImportError as error:
            raise missing_extra("wandb", "wandb", "the sink 'wandb'") from error
        return wandb

    def _send(self, index: int, row: Row) -> None:
        self._run.log({**dict(scalars(row)), "iteration": row["iteration"]}, step=index)

    def close(self) -> None:
        """Finish."""
        self._run.finish(exit_code=0 if _ended() == "FINISHED" else 1)


class MLflow(_Tracker):
    """Logs to MLflow: where MLFLOW_TRACKING_URI points, else to MLflow's own default, mlflow.db in the current folder.

    MLFLOW_EXPERIMENT_NAME names the experiment, else it is "himac". A metric's step is the iteration.

    Args:
        folder: the run's; the id is kept in `mlflow-id`.
        config: the run's; its settings are parameters. MLflow lets none change, so one that a resumed run changed is a tag.
        kept: rows that were written before.
    """

    def __init__(self, folder: Path, config: Config | None = None, kept: Sequence[Row] = ()) -> None:
        mlflow = self._package()
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", _MLFLOW_TRIES)
        for name in ("mlflow.store.db.utils", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)  # 40 lines about the tables of a new file
        self._point = mlflow.entities.Metric
        self._client = mlflow.MlflowClient()
        path = folder / "mlflow-id"
        found = self._find(read_text(path).strip()) if path.is_file() else None
        if found is None:
            experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
            known = self._client.get_experiment_by_name(experiment)
            place = known.experiment_id if known is not None else self._client.create_experiment(experiment)
            found = self._client.create_run(place, run_name=folder.resolve().name, tags=_tags_by_name(config))
            write_text(path, f"{found.info.run_id}\n")
        self._id = found.info.run_id
        self._client.update_run(self._id, status="RUNNING")
        self._tell_settings(mlflow.entities.Param, config, found.data.params)
        self._go_on(kept, int(found.data.metrics.get(_MLFLOW_ROWS, 0)))

    @classmethod
    def require(cls) -> None:
        """See that rows can be kept.

        Raises:
            MissingExtraError: a package is not installed.
        """
        mlflow = cls._package()
        if "://" in mlflow.get_tracking_uri() and not mlflow.get_tracking_uri().startswith("http"):
            try:
                import sqlalchemy  # noqa: F401  # mlflow-skinny alone speaks to servers only
            except ImportError as error:
                raise missing_extra("sqlalchemy", "mlflow", "the sink 'mlflow' without a server") from error

    @staticmethod
    def _package() -> Any:
        try:
            import mlflow
        except ImportError as error:
            raise missing_extra("mlflow-skinny", "mlflow", "the sink 'mlflow'") from error
        return mlflow

    def _find(self, ident: str) -> Any:
        """Return the run of an id; None where this store does not know it: it is told everything, as a new one."""
        from mlflow.exceptions import MlflowException

        try:
            return self._client.get_run(ident)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None

    def _tell_settings(self, param: Any, config: Config | None, known: dict[str, str]) -> None:
        settings = {key: str(value)[:_MLFLOW_LONGEST] for key, value in flat(_settings(config)).items()}
        new = [param(key, value) for key, value in settings.items() if key not in known]
        for first in range(0, len(new), _MLFLOW_PARAMS):
            self._client.log_batch(self._id, params=new[first : first + _MLFLOW_PARAMS])
        for key, value in settings.items():
            if known.get(key, value) != value:
                self._client.set_tag(self._id, f"resumed.{key}", value)

    def _send(self, index: int, row: Row) -> None:
        now = int(time.time() * 1000)
        told = [self._point(name, value, now, row["iteration"]) for name, value in scalars(row)]
        told.append(self._point(_MLFLOW_ROWS, index + 1, now, index))
        self._client.log_batch(self._id, metrics=told)

    def close(self) -> None:
        """Finish."""
        self._client.set_terminated(self._id, status=_ended())


class Trackio(_Tracker):
    """Logs to trackio: to files of this machine, or where its TRACKIO_SPACE_ID or TRACKIO_SERVER_URL point.

    TRACKIO_PROJECT names the project, else it is "himac". Runs of one world and method are a group.

    Args:
        folder: the run's; the name at trackio is kept in `trackio-id`.
        config: the run's.
        kept: rows that were written before.
    """

    def __init__(self, folder: Path, config: Config | None = None, kept: Sequence[Row] = ()) -> None:
        trackio = self._package()
        # trackio goes on with the newest run of a name: one that a second folder may have must not be it
        name = _kept_id(folder / "trackio-id", f"{folder.resolve().name}-{uuid.uuid4().hex[:4]}")
        with _on_stderr():
            self._run = trackio.init(
                project=os.environ.get("TRACKIO_PROJECT", PROJECT), name=name, resume="allow", embed=False,
                group=" ".join(_tags(config)[:2]) or None, config={**_settings(config), "tags": _tags(config)},
            )  # fmt: skip
        self._go_on(kept, self._run._next_step)  # there is no public word for what it found in its store

    @classmethod
    def require(cls) -> None:
        """See that the package is there.

        Raises:
            MissingExtraError: it is not installed.
        """
        cls._package()

    @staticmethod
    def _package() -> Any:
        try:
            import trackio
        except ImportError as error:
            raise missing_extra("trackio", "trackio", "the sink 'trackio'") from error
        return trackio

    def _send(self, index: int, row: Row) -> None:
        self._run.log({**dict(scalars(row)), "iteration": row["iteration"]}, step=index)

    def close(self) -> None:
        """Finish."""
        with _on_stderr():
            self._package().finish()  # not the run's own: trackio would finish it again when Python ends


def _kept_id(path: Path, new: str) -> str:
    """Return the id that a run has at a service; the first time, a new one."""
    if not path.is_file():
        write_text(path, f"{new}\n")
    return read_text(path).strip()


def _set_aside(folder: Path, ident: str, rows: int) -> int:
    """Make room for an offline record that holds the whole run; return how many rows are at the service.

    W&B writes its record in blocks of 32 kB, and a killed run's last block is lost. Nothing can be added to a record, so a
    resumed run begins a new one, with every row that metrics.jsonl kept. `wandb sync` would send those of both:
    the old one gets a name that it does not look for. One that was sent already stays, and its rows count as told.
    """
    told = 0
    for record in folder.glob(f"offline-run-*-{ident}"):
        if any(record.glob("*.synced")):
            told = rows
        else:
            record.rename(record.with_name(f"replaced-{record.name}"))
    return told


def _settings(config: Config | None) -> dict[str, Any]:
    return {**asdict(config), "himac": __version__} if config is not None else {}


def _tags(config: Config | None) -> list[str]:
    return [config.env.name, config.algo.method, config.algo.estimator] if config is not None else []


def _tags_by_name(config: Config | None) -> dict[str, str]:
    return dict(zip(("env", "method", "estimator"), _tags(config), strict=False))


def _ended() -> str:
    """Return how a run ends that is being closed, in MLflow's words: an exception is under way, or none."""
    kind = sys.exc_info()[0]
    if kind is None:
        return "FINISHED"
    return "KILLED" if issubclass(kind, KeyboardInterrupt) else "FAILED"


@contextlib.contextmanager
def _on_stderr() -> Iterator[None]:
    """Let a library print beside what is meant for a pipe."""
    with contextlib.redirect_stdout(sys.stderr):
        yield
