"""The lecture on the page: its claims with what was computed, and what its networks learned."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jinja2 import PackageLoader
from markupsafe import Markup

from bench.lecture.findings import PUBLISHED, VERDICTS, Claim, Lecture, SmallImage, find_lecture
from reports.images import Sheet, sheet
from reports.lecture_plots import confusion_plot, shift_plot
from trainmark import formatting
from trainmark.page.html import templates
from trainmark.page.plots.canvas import Plot
from trainmark.page.sections import Section

STAGES = ("early", "middle", "later")
_KERNELS = {"by hand": "kernels made by hand", "learned": "the learned kernels that weigh most"}


_VERDICTS = {"fails": "Does not hold", "holds": "Holds", "not checked": "Not computed in this run"}


@dataclass(frozen=True)
class Pictures:
    """Images under one heading, with a sentence that says what to see."""

    title: str
    reading: str
    sheets: tuple[Sheet, ...]


@dataclass(frozen=True)
class Lesson:
    """The lecture on a page.

    Attributes:
        sentence: How many claims hold.
        claims: In the order of the lecture, under what they came to: what fails first.
        plots: Shifted digits, confused digits.
        pictures: Kernels, feature maps, digits; those that are not there are left out.
    """

    sentence: str
    claims: tuple[tuple[str, tuple[Claim, ...]], ...]
    plots: tuple[Plot, ...]
    pictures: tuple[Pictures, ...]


def sections(folder: Path) -> Iterable[Section]:
    """What the lecture workload left in a run's folder, as a section of the page; none where it left nothing."""
    lecture = find_lecture(folder)
    if lecture is None:
        return
    html = templates(PackageLoader("reports")).get_template("lecture.html").render(lesson=lesson(lecture))
    yield Section((("learned", "Learned"), ("lecture", "Lecture")), Markup(html))  # the template escapes


def lesson(lecture: Lecture) -> Lesson:
    """All that the page shows of it."""
    counts = {word: sum(claim.verdict == word for claim in lecture.claims) for word in VERDICTS}
    sentence = f"{counts['holds']} of {len(lecture.claims)} claims hold, {counts['fails']} fail"
    sentence += f", {counts['not checked']} could not be checked here." if counts["not checked"] else "."
    computed = sum(map(_is_computed, lecture.claims))
    published = len(lecture.claims) - counts["not checked"] - computed
    sentence += f" {computed} of them computed in this run"
    sentence += f", {published} compared with figures that others have published." if published else "."
    plots = (shift_plot(lecture.shifts), confusion_plot(lecture.confusion))
    pictures = (_kernels(lecture), _by_hand(lecture), *_maps(lecture), _misread(lecture))
    return Lesson(
        sentence,
        tuple((title, some) for word, title in _VERDICTS.items() if (some := _of(word, lecture.claims))),
        tuple(plot for plot in plots if plot is not None),
        tuple(some for some in pictures if some is not None and some.sheets),
    )


def _of(verdict: str, claims: Iterable[Claim]) -> tuple[Claim, ...]:
    return tuple(claim for claim in claims if claim.verdict == verdict)


def _is_computed(claim: Claim) -> bool:
    """Whether it was computed in the run, and with no figure of others; an older file tells such by their topic."""
    return claim.verdict != "not checked" and not claim.source and claim.topic != PUBLISHED


def _kernels(lecture: Lecture) -> Pictures | None:
    sheets = tuple(
        sheet(f"{word.capitalize()} training", f"{len(images)} kernels of 3x3 {word} training", images, 8, 260)
        for word in ("before", "after")
        if (images := lecture.group(f"kernels {word}"))
    )
    shares = {word: [plane_share(image) for image in lecture.group(f"kernels {word}")] for word in ("before", "after")}
    shares = {word: some for word, some in shares.items() if some}
    means = [f"{formatting.percent(sum(some) / len(some), 0)} {word}" for word, some in shares.items()]
    edges = [f"{sum(share > 0.5 for share in some)} of {len(some)} {word}" for word, some in shares.items()]
    reading = (
        "The CNN's first kernels, as a grey image meets them; orange is positive, blue negative. Of what a kernel "
        f"varies by, a slope from side to side, as in what looks for an edge, explains {' and '.join(means)} training "
        f"(mean); more than half in {', '.join(edges)} training."
    )
    return Pictures("First-layer kernels", reading, sheets)


def plane_share(image: SmallImage) -> float:
    """The share of a kernel's variance that a plane explains: 1 of a slope from one side to the other, 0 of a spot."""
    values = image.low + image.array / 255 * (image.high - image.low)  # [H, W]
    values = values - values.mean()
    height, width = np.indices(values.shape)
    slopes = [axis - axis.mean() for axis in (height, width)]
    explained = sum(float((values * slope).sum()) ** 2 / float((slope**2).sum()) for slope in slopes)
    varied = float((values**2).sum())
    return explained / varied if varied else 0.0


def _by_hand(lecture: Lecture) -> Pictures | None:
    sheets = tuple(
        sheet(
            title,
            f"A digit after {what}: {', '.join(image.caption for image in images)}",
            images,
            3,
            330,
            captions=True,
        )
        for group, title, what in (
            ("by hand", "The lecture's kernels", "the kernels made by hand"),
            ("learned", "Learned kernels", "the learned kernels that weigh most"),
        )
        if (images := lecture.group(group))
    )
    through = " and ".join(f"through {what}" for group, what in _KERNELS.items() if lecture.group(group))
    reading = f"The same digit {through}."
    return Pictures("By hand and learned", reading, sheets)


def _maps(lecture: Lecture) -> list[Pictures]:
    found = []
    for image in (one for one in lecture.images if one.group.startswith("digit ")):
        digit = image.group.removeprefix("digit ")
        sheets = [sheet("The digit", f"{image.caption} of the held-out digits", [image], 1, 120)]
        sheets += [
            sheet(
                f"{stage.capitalize()} layer",
                f"{len(maps)} feature maps of {maps[0].height}x{maps[0].width} for {image.caption}",
                maps,
                4,
                260,
            )
            for stage in STAGES
            if (maps := lecture.group(f"maps {digit} {stage}"))
        ]
        sides = [
            f"{maps[0].height}x{maps[0].width}" for stage in STAGES if (maps := lecture.group(f"maps {digit} {stage}"))
        ]
        reading = f"The strongest maps of {formatting.counted(len(sides), 'layer')}, of {', '.join(sides)} places."
        found.append(Pictures(f"Feature maps of {formatting.plain(image.caption, 40)}", reading, tuple(sheets)))
    return found


def _misread(lecture: Lecture) -> Pictures | None:
    images = lecture.group("misread")
    if not images:
        return None
    alt = f"{len(images)} misread digits: {'; '.join(image.caption for image in images)}"
    shown = sheet("Most confident mistakes", formatting.plain(alt, 600), images, 4, 330, captions=True)
    return Pictures("Misread digits", "What the CNN read with the most confidence, and wrongly.", (shown,))
