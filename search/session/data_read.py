"""The data of a search: found, read, parted into train and validation, and what had to be said of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from search.errors import BadInput, EnvironmentFault
from search.record.contents import Contents
from search.record.header import Header
from search.settings import Settings
from search.terminal.console import Display
from spaces.study import Study
from trainables import datasets
from trainables.cache import cache_folder
from trainables.data import Data, nothing
from trainables.own_data import read_by
from trainables.photos import train_photos


def read(
    study: Study, settings: Settings, display: Display, before: Header | None = None
) -> tuple[datasets.Source, Data, str]:
    """Where the data come from, the parts that a search sees, and their digest.

    A dry run downloads nothing: the digest is "" where something would have to be. A search that goes on reads as
    `before` says, whatever is usual now: one that began with the stand-in keeps it even if the real set is at hand.
    Raises BadInput for data that cannot be used, EnvironmentFault if a stand-in is not wanted.
    """
    if settings.val_as_test and (not study.dataset or study.data is not None):
        raise BadInput(f"--val-as-test is for data that we read, and {study.name} reads its own; leave it out")
    if not study.dataset:
        if settings.data:
            raise BadInput(f"{study.name} reads its data itself, so --data {settings.data} leads nowhere; leave it out")
        return datasets.of_its_own(), nothing(), ""
    try:
        if study.data is not None:
            return read_by(study.data, instead_of=settings.data)
        if before is not None and before.stand_in:
            source = datasets.stand_in(study.dataset)
        else:
            source = datasets.find(
                study.dataset,
                settings.data,
                warn=display.warn,
                download=not settings.dry_run,
                reading=_reading(study, settings, display, before),
            )
        if source.stand_in and not settings.stand_in:
            raise EnvironmentFault(
                f"{study.dataset} is not at hand and cannot be downloaded; put {datasets.file_of(study.dataset)} into "
                "SEARCH_DATA_DIR"
            )
        if settings.val_as_test if before is None else before.val_as_test:
            source = _val_as_test(source)
        split = source.split if before is None else before.split
        data, digest = datasets.parts(source, split, val_fraction=study.val_fraction, seed=study.split_seed)
    except datasets.DataError as error:
        raise BadInput(str(error)) from None
    finally:
        display.reading(0, 0)
    _tell(source, study, display, anew=before is None)
    return source, data, "" if source.missing else digest


def header_fields(source: datasets.Source, settings: Settings) -> dict[str, Any]:
    """What a record keeps of how the data were read."""
    facts = source.facts
    contents = facts and Contents.of(facts.counts, facts.sizes, facts.kinds, facts.broken, source.warnings)
    return {
        "image_size": source.image_size,
        "skip_broken": settings.skip_broken,
        "group_by": settings.group_by,
        "split": source.split,
        "val_as_test": settings.val_as_test,
        "notes": [*source.warnings, *source.notes],
        "contents": contents,
    }


def _val_as_test(source: datasets.Source) -> datasets.Source:
    """`source` with its validation part as test part, so that validation is split off its train part."""
    if source.val is None or source.test is not None:
        has = "a test part" if source.test is not None else "no validation part"
        raise datasets.DataError(
            f"--val-as-test is for data with a validation part and no test part, but {source.where} has {has}"
        )
    facts, names = source.facts, source.file_names
    if facts is not None:
        facts = replace(facts, counts={"test" if part == "val" else part: of for part, of in facts.counts.items()})
    note = "its validation part is the test part, as --val-as-test asks; validation is split off the train part"
    split = "stratified" if source.groups is None else "by groups"
    return replace(
        source,
        test=source.val,
        val=None,
        split=split,
        notes=(*source.notes, note),
        facts=facts,
        file_names=names and (lambda part: names("val" if part == "test" else part)),
    )


def with_folds(study: Study, source: datasets.Source, settings: Settings) -> Study:
    """`study` without folds where the data have a validation part. Raises BadInput if folds were asked for."""
    if source.split != "own":
        return study
    if settings.folds:
        raise BadInput(
            "--folds deals images into parts, but these have a validation part of their own; leave it out, or take "
            "that part for the test with --val-as-test"
        )
    if study.trainable is not train_photos:
        return study
    return replace(study, fixed={"train/folds": 0, **study.fixed})


def _reading(study: Study, settings: Settings, display: Display, before: Header | None) -> datasets.Reading:
    limit = settings.data_limit or datasets.LIMIT
    if before is None:
        return datasets.Reading(
            limit=limit,
            image_size=settings.image_size,
            otherwise=study.image_size or datasets.SIDE,
            skip_broken=settings.skip_broken,
            group_by=settings.group_by,
            progress=display.reading,
        )
    return datasets.Reading(
        limit=limit,
        image_size=before.image_size,
        otherwise=None,  # as they are, in searches that began so
        skip_broken=before.skip_broken,
        group_by=before.group_by,
        progress=display.reading,
    )


def _tell(source: datasets.Source, study: Study, display: Display, *, anew: bool) -> None:
    """Say what must be known of the data; of how they were read only when a search begins."""
    if source.stand_in:
        display.warn(
            f"STAND-IN DATA: {study.dataset.upper()} COULD NOT BE HAD. THIS RUNS ON {source.where.upper()}, "
            f"AND SAYS NOTHING ABOUT {study.dataset.upper()}. "
            f"For the real thing put {datasets.file_of(study.dataset)} into SEARCH_DATA_DIR."
        )
    if source.missing:
        display.warn(f"{study.dataset} is not at hand; the search will download it into {cache_folder()} first")
    if anew:
        for text in source.warnings:
            display.warn(f"data: {text}")
        for text in source.notes:
            display.say(f"data: {text}")
