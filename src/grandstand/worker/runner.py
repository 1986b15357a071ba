"""One managed training, from the order to the last word."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grandstand.client.failure import describe
from grandstand.client.session import Session
from grandstand.clock import Clock
from grandstand.model.checkpoints import FOLDER, newest_whole
from grandstand.model.scenarios import Scenario
from grandstand.model.stopping import Plateau, StoppingRules
from grandstand.worker.controls import LEAVE_SECONDS, Controls
from grandstand.worker.machine import Vitals, facts
from grandstand.worker.reports import Reports

if TYPE_CHECKING:
    from grandstand.train.stopping import EarlyStopping, Ending
    from grandstand.train.trainer import RankLost, Trainer, Update
    from grandstand.worker.checkpoints import Checkpoints, Content, History
    from grandstand.worker.uploads import Uploads

log = logging.getLogger("grandstand.worker")

STORE_SECONDS = 30.0
KEEP_CHECKPOINTS = 10
LOST_SECONDS = 5.0
"""How long the server is waited for to hear that a rank was lost."""
RANK_LOST = 3
"""Exit status: the server starts another attempt, as after any worker's unexpected end."""
VITALS_SECONDS = 5.0
PROGRESS = {
    "episode": "episode",
    "average_reward": "avg_reward",
    "avg_duration": "avg_duration",
    "avg_cash": "avg_cash",
    "avg_invested": "avg_invested",
    "stability": "stability",
    "goal_adherence": "goal_adherence",
    "training_time_elapsed": "elapsed_time",
}
"""Columns of the last episode, and their names among the final metrics."""


class SessionRun:
    """A training: what the order says, and where it stands.

    Args:
        order: the server's, see docs/sdk.md.
        session: to report to; lossless.
        controls: already beating.
        clock: for pace and pauses.
        uploads: sends checkpoints and model to a server on another machine; `order["folder"]` is
            then a folder of this one.
    """

    def __init__(
        self,
        order: Mapping[str, Any],
        session: Session,
        controls: Controls,
        clock: Clock,
        uploads: Uploads | None = None,
    ) -> None:
        self._order = order
        self._uploads = uploads
        self._session = session
        self._controls = controls
        self._clock = clock
        self._folder = Path(order["folder"])
        self._scenario = Scenario.from_mapping(order["scenario"])
        self._vitals = Vitals(
            session,
            every_seconds=VITALS_SECONDS,
            episode=self._told_episode,
            device=order.get("device") or "cpu",
        )
        self._step = 0
        self._last: dict[str, Any] = {}
        self._best: dict[str, dict[str, Any]] | None = None
        self._ending: Ending | None = None
        self._rewound_to: int | None = None
        self._held = ExitStack()

    def run(self) -> int:
        """Train until it is done or somebody wants otherwise; report how it ended.

        Returns:
            The exit status: 0; 1 when the training failed; 3 when one of its ranks was lost, and
            another attempt is to go on from the last checkpoint.
        """
        from grandstand.train.trainer import RankLost

        try:
            self._prepare()
            self._vitals.start()
            return self._train()
        except RankLost as error:
            return self._lose(error)
        except Exception as error:
            log.exception("the training failed")
            told = describe(error, facts())
            told["last_checkpoint"] = self._last_checkpoint()
            self._controls.close()
            self._session.finish("failed", f"{told['type']}: {told['message']}", told)
            return 1
        finally:
            self._vitals.close()
            if self._uploads is not None:
                self._uploads.close()
            self._held.close()

    def _prepare(self) -> None:
        """Build the trainer and put it where the last checkpoint left off."""
        from grandstand.train.stopping import EarlyStopping, Ending
        from grandstand.train.trainer import close_trainer, make_trainer
        from grandstand.worker.checkpoints import Checkpoints, History

        order = self._order
        self._rules = stopping_rules(order, self._scenario)
        self._stopping: EarlyStopping = EarlyStopping(self._rules)
        self._folder.mkdir(parents=True, exist_ok=True)
        begin = order.get("resume_from")
        if self._uploads is not None:
            source = self._uploads.fetch(self._folder)
            begin = {**begin, "folder": str(source)} if begin and source else None
            self._uploads.start()
        text = json.dumps(self._scenario.to_mapping(), indent=2)
        (self._folder / "scenario.json").write_text(text, encoding="utf-8")
        trainer = make_trainer(
            self._scenario,
            num_episodes=order["num_episodes"],
            seed=order["seed"],
            device=order.get("device") or "auto",
        )
        self._held.callback(close_trainer, trainer)
        if hasattr(trainer, "give_way"):
            trainer.give_way = lambda: self._controls.interrupted
        self._checkpoints: Checkpoints = Checkpoints(
            self._folder,
            self._session,
            every=order.get("save_interval") or 100,
            keep=order.get("keep_checkpoints") or KEEP_CHECKPOINTS,
            metadata={
                "session_id": self._session.session_id,
                "scenario_name": self._scenario.name,
                "seed": order["seed"],
                "num_episodes": order["num_episodes"],
                "attempt": order.get("attempt"),
            },
            uploads=self._uploads,
        )
        self._history: History = History()
        found = self._checkpoints.find(begin)
        if found is not None:
            trainer.load_state_dict(found.state["trainer"])
            self._step = int(found.metadata.get("step", 0))
            ending = found.state["ending"]
            if ending and found.path.parent != self._checkpoints.root:
                # That session had come to its end; this one begins to look for its own.
                self._stopping.best_step = self._step
            else:
                self._stopping.load_state_dict(found.state["stopping"])
                self._best = found.state["best"]
                # Cut between its last update and its last word.
                self._ending = Ending(*ending) if ending else None
            self._history = History(found.history)
            log.info("going on from %s", found.path.name)
        self._trainer: Trainer = trainer
        exact = bool(getattr(trainer, "exact", True))
        stored = order.get("current_episode") or trainer.episodes_done
        if not exact and trainer.episodes_done < stored:
            # What is reported from here on is another course of the same episodes.
            self._rewound_to = stored = trainer.episodes_done
        self._reports = Reports(
            self._session,
            self._clock,
            pace=order.get("pace"),
            total_episodes=order["num_episodes"],
            stored_until=stored,
            pass_name="" if exact else f"attempt {order.get('attempt')} ",
        )

    def _train(self) -> int:
        from grandstand.train.trainer import GaveWay

        if self._controls.wanted == "running":
            self._tell(
                "running",
                resumed_at=self._trainer.episodes_done or None,
                rewound_to=self._rewound_to,
            )
        while True:
            if (ended := self._obey()) is not None:
                return ended
            before = self._trainer.episodes_done
            try:
                update = None if self._ending else next(iter(self._trainer), None)
            except GaveWay:
                continue
            if update is None:
                return self._complete()
            # Before it is reported: a checkpoint may be asked for while that goes on.
            self._ending = self._stopping.look(update)
            if self._rules.plateau is not None and self._stopping.improved:
                self._best = self._trainer.models()
            self._report(update)
            self._play(before)
            self._checkpoints.at_boundary(self._trainer.episodes_done, self._capture)

    def _capture(self) -> Content:
        """Everything a checkpoint holds, as it is now."""
        from grandstand.worker.checkpoints import Content

        state = {
            "trainer": self._trainer.state_dict(),
            "stopping": self._stopping.state_dict(),
            "best": self._best,
            "ending": list(self._ending) if self._ending else None,
        }
        return Content(
            self._trainer.episodes_done,
            self._step,
            state,
            self._trainer.models(),
            {name: list(column) for name, column in self._history.columns.items()},
        )

    def _told_episode(self) -> int | None:
        """The newest episode people have heard of; None before there is one, and in a pause."""
        if self._controls.status == "paused":
            return None
        return self._reports.episode or None

    def _report(self, update: Update) -> None:
        """Report an update, at its pace; pauses are kept here too, so that they begin at once."""
        self._step = update.step
        self._history.add(update)
        if len(update.episodes):
            self._last = {name: col[-1] for name, col in update.episodes.columns().items()}
        self._reports.add(update)
        while (due := self._reports.next_due) is not None:
            self._reports.send_due()
            if self._controls.wait(max(due - self._clock.monotonic(), 0.0)):
                if self._controls.must_go or self._controls.wanted == "stopped":
                    self._reports.send_all()
                elif self._controls.checkpoint_requested:
                    self._checkpoint(STORE_SECONDS)
                else:
                    self._pause()

    def _play(self, before: int) -> None:
        """Show a whole episode of the policy where one is due, of a trainer that can play one."""
        from grandstand.train.playing import due

        done = self._trainer.episodes_done
        play = getattr(self._trainer, "play", None)
        if play is None or not due(before, done, self._order["num_episodes"]):
            return
        for i, decision in enumerate(play()):
            self._session.decision(**decision.told(), key=f"played {done} step {i}")

    # ---- what is wanted ----------------------------------------------------------------------

    def _obey(self) -> int | None:
        """Do what is wanted besides going on; an exit status when the training ends here."""
        controls = self._controls
        while controls.interrupted:
            if controls.superseded or self._session.ended is not None:
                return self._vanish()
            if controls.leaving or controls.gone:
                return self._release()
            if controls.checkpoint_requested:
                self._checkpoint(STORE_SECONDS)
            elif controls.wanted == "stopped":
                return self._stop()
            elif controls.wanted == "paused":
                self._pause()
        return None

    def _pause(self) -> None:
        began = self._clock.monotonic()
        self._tell("paused")
        while self._controls.wanted == "paused" and not self._controls.must_go:
            self._controls.wait_while_paused()
            if self._controls.checkpoint_requested and not self._controls.must_go:
                self._checkpoint(STORE_SECONDS)
        self._reports.shift(self._clock.monotonic() - began)
        if self._controls.wanted == "running" and not self._controls.must_go:
            self._tell("running")

    def _checkpoint(self, timeout: float) -> bool:
        self._reports.send_all()
        taken = self._checkpoints.now(self._capture, timeout)
        if taken and self._controls.checkpoint_requested:
            self._session.flush(timeout)
            self._controls.checkpoint_taken()
        return taken

    def _tell(self, status: str, **data: Any) -> None:
        previous, self._controls.status = self._controls.status, status
        more = {key: value for key, value in data.items() if value is not None}
        self._session.event(
            "status",
            status=status,
            previous=previous,
            scenario_name=self._scenario.name,
            num_episodes=self._order["num_episodes"],
            **more,
        )
        self._session.flush(0)  # somebody looks at a button: nothing is gathered before it goes

    # ---- how it ends -------------------------------------------------------------------------

    def _lose(self, error: RankLost) -> int:
        """End like a worker that was killed: what is stored stays, the next attempt goes on."""
        log.error("leaving: %s; the newest checkpoint is where it goes on", error.message)
        self._session.event("rank_lost", message=error.message[:500])
        self._session.flush(LOST_SECONDS)
        self._controls.close()
        self._session.abandon()
        return RANK_LOST

    def _vanish(self) -> int:
        log.info("leaving without a word: the session is somebody else's now")
        self._controls.close()
        self._session.abandon()
        return 0

    def _release(self) -> int:
        taken = self._checkpoint(LEAVE_SECONDS / 2)
        log.info("leaving %s", "after a checkpoint" if taken else "with an older checkpoint")
        self._controls.close()
        if not self._controls.gone:
            self._session.finish("released", "the worker was asked to leave", timeout=LEAVE_SECONDS)
        return 0

    def _stop(self) -> int:
        self._checkpoint(STORE_SECONDS)
        models = self._save_models()
        self._controls.close()
        self._session.finish(
            "stopped", "stopped by request", final_metrics=self._final(), models=models
        )
        return 0

    def _complete(self) -> int:
        self._reports.send_all()
        self._checkpoint(STORE_SECONDS)
        models = self._save_models()
        final = self._final()
        if self._order.get("eval_episodes"):
            final["evaluation"] = self._evaluate()
        if self._controls.superseded:
            return self._vanish()
        self._controls.close()
        reason = self._ending.reason if self._ending else "all episodes done"
        self._session.finish("completed", reason, final_metrics=final, models=models)
        return 0

    def _save_models(self) -> dict[str, str]:
        from grandstand.train.policy import save_models

        plateau = self._ending is not None and self._ending.rule == "plateau"
        chosen = self._best if plateau and self._best else self._trainer.models()
        paths = save_models(chosen, self._folder, self._scenario.name)
        history = self._folder / f"{self._scenario.name}_history.json"
        self._history.write(history)
        if self._uploads is not None:
            self._uploads.send_model([*paths.values(), history, self._folder / "scenario.json"])
        return {**{stem: path.name for stem, path in paths.items()}, "history": history.name}

    def _last_checkpoint(self) -> str | None:
        """The one to go on from after a failure, by name."""
        found = newest_whole(self._folder / FOLDER).path
        return found.name if found else None

    def _final(self) -> dict[str, Any]:
        final = {told: self._last[name] for name, told in PROGRESS.items() if name in self._last}
        return {"total_episodes": self._order["num_episodes"], **final}

    def _evaluate(self) -> dict[str, Any]:
        from grandstand.worker.evaluation import assess

        result = assess(
            self._folder,
            self._scenario.name,
            self._scenario,
            episodes=self._order["eval_episodes"],
            seed=self._order["seed"],
            cache=self._order.get("cache_folder"),
        )
        del result["trajectories"]
        self._session.event("evaluation", **result)
        return result


def stopping_rules(order: Mapping[str, Any], scenario: Scenario) -> StoppingRules:
    """What the order asks for, else what the scenario does."""
    if told := order.get("early_stopping"):
        return StoppingRules.model_validate(told)
    patience = scenario.training.patience_steps
    return StoppingRules(plateau=Plateau(patience_steps=patience) if patience else None)
