"""What was found in a data set as one HTML page, with examples of each class."""

from __future__ import annotations

import base64
import os
import uuid
from pathlib import Path

from search.errors import EnvironmentFault
from search.findings import markup
from search.findings.dataset import Look
from search.findings.sections.mistakes import png
from trainables.datasets import Source

EXAMPLES = 8
"""Pictures of each class on the page."""

MOST_CLASSES = 200
"""Classes with examples, so that the page stays one."""


def write(found: Look, source: Source, file: Path) -> Path:
    """Write what was found, with training pictures of each class, as one HTML page. Raises EnvironmentFault."""
    examples = {name: pictures for name, pictures in _examples(source).items() if pictures}
    environment = markup.environment(markup.as_svg)
    page = environment.get_template("look.html").render(look=found, examples=examples)
    aside = file.with_name(f".{file.name}-{uuid.uuid4().hex}")
    try:
        aside.write_text(page, encoding="utf-8")
        os.replace(aside, file)
    except OSError as error:
        raise EnvironmentFault(
            f"the page {file} cannot be written ({error.strerror}); choose another file with -o"
        ) from None
    finally:
        if aside.parent.is_dir():
            aside.unlink(missing_ok=True)
    return file


def _examples(source: Source) -> dict[str, list[str]]:
    """Training pictures of each class as data URIs, evenly over the part; none of data that are no pictures."""
    images, labels = source.train()
    if str(images.dtype) != "torch.uint8" or images.shape[1] not in (1, 3):
        return {}
    brightest = max(1, int(images[:: max(1, len(images) // 500)].max()))
    made: dict[str, list[str]] = {}
    for number, name in enumerate(source.classes[:MOST_CLASSES]):
        rows = (labels == number).nonzero().flatten()
        chosen = rows[:: max(1, len(rows) // EXAMPLES)][:EXAMPLES]
        levels = (images[chosen].float() * (255.0 / brightest)).clamp(max=255).byte().numpy()
        made[name] = [f"data:image/png;base64,{base64.b64encode(png(each)).decode()}" for each in levels]
    return made
