"""What is trained next: published settings, start points, repeats, proposals; and in the end what is confirmed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from search.decide import settled
from search.decide.prospects import Judge
from search.record.events import Asked, Confirming
from search.record.state import State
from search.record.steering import Steering
from search.record.trial import ADDED, CONFIRMATION, PROPOSED, PUBLISHED, REPEAT, SEED, START, Trial, setting_of
from search.record.trials import Trials
from search.settings import CONFIRM_SEEDS, Options
from spaces.study import Study, config_of

if TYPE_CHECKING:  # which brings Optuna with it
    from search.decide.samplers.sampler import Sampler
    from search.decide.schedulers.scheduler import Scheduler


def trial_config(study: Study, seed: int, trial: Trial) -> dict[str, Any]:
    """What the trainable is called with. Its seed is of the search and of the trial, so trials are independent."""
    return study.full_config(trial.point, seed=own_seed(seed, trial.number))


def own_seed(seed: int, number: int) -> int:
    """The seed of trial `number` in a search that was begun with `seed`."""
    return random.Random(f"{seed}/{number}/train").getrandbits(31)


def asked(trials: Trials) -> int:
    """How many trials of the search proper there are."""
    return len(trials) - trials.confirmations


def most(study: Study, rules: Options) -> int:
    """How many trials of the search proper there may be."""
    return rules.trials or study.trials


def may_begin(trials: Trials, study: Study, rules: Options) -> bool:
    """Whether there may be more trials of the search proper."""
    return asked(trials) < most(study, rules)


def too_late(trials: Trials, steering: Steering) -> bool:
    """Whether what would begin now would be cut off too soon; what somebody wants tried begins all the same."""
    return trials.closing is not None and not steering.next


def given_are_left(trials: Trials, study: Study, rules: Options) -> bool:
    """Whether points that were given have not all begun; they are known to be good elsewhere, and come first."""
    given = asked(trials) - trials.added
    return given < min(len(study.published) + len(study.start), most(study, rules))


def next_one(trials: Trials, study: Study, rules: Options, sampler: Sampler, steering: Steering) -> Asked | None:
    """What the next trial of the search proper tries; None if the sampler has nothing left to try.

    What somebody wants tried comes first.
    """
    if steering.next:
        point, who = steering.next[0]
        return Asked(point, f"{ADDED} {who}")
    number = asked(trials) - trials.added
    repeated = settled.to_repeat(trials) if rules.until_settled else None
    if number < len(study.published):
        return Asked(config_of(study.published[number].config), f"{PUBLISHED} {number}")
    index = number - len(study.published)
    if index < len(study.start):
        return Asked(config_of(study.start[index]), f"{START} {index}")
    if repeated is not None:
        return Asked(config_of(repeated.point), f"{REPEAT} {repeated.number}")
    proposed = sampler.propose(len(trials))
    return None if proposed is None else Asked(config_of(proposed), PROPOSED)


def to_continue(trials: Trials, study: Study, rules: Options, sampler: Sampler, scheduler: Scheduler) -> int | None:
    """The paused trial with which a free worker goes on; None if there is none, or a new one is to begin instead."""
    aside = trials.paused()
    if aside and trials.closing is not None and trials.confirming is None:
        return _best_of(aside, study)
    paused = [trial.number for trial in aside]
    if not paused or trials.confirming is not None or trials.settled or given_are_left(trials, study, rules):
        return None
    assert isinstance(sampler, Judge)
    number, new = len(trials), may_begin(trials, study, rules)
    must = not (new or trials.running() or any(trial.state is State.COMPLETE for trial in trials.searched))
    return scheduler.to_continue(paused, lambda: sampler.prospects(number), may_begin=new, must=must)


def _best_of(paused: Sequence[Trial], study: Study) -> int:
    """The trial of most worth so far: what little time is left is best spent on it."""
    values = [trial.best_value(study.objective) for trial in paused]
    return paused[values.index(study.objective.best(values))].number


def to_confirm(trials: Trials, study: Study, rules: Options) -> Confirming | None:
    """What would be confirmed now.

    Of trials with equal settings the best stands for all. None if no confirmation is wanted or no trial has a finite
    value.
    """
    best: dict[str, int] = {}
    for trial in trials.ranking() if rules.confirm else ():
        if trial.confirms is None:
            best.setdefault(trial.setting, trial.number)
    if not best:
        return None
    control = best.get(setting_of(config_of(study.start[0]))) if study.start else None
    return Confirming(list(best.values())[: rules.confirm], control, rules.confirm_seeds or CONFIRM_SEEDS)


def next_confirmation(trials: Trials, seed: int) -> Asked | None:
    """The next trial of the confirmation that is carried out, in a search of this `seed`; None if there is none."""
    due = trials.due(trials.confirming) if trials.confirming else []
    if not due:
        return None
    point = dict(trials[due[0]].point)
    if SEED in point:
        point[SEED] = own_seed(seed, len(trials))
    return Asked(config_of(point), f"{CONFIRMATION} {due[0]}")
