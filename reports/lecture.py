"""What the lecture workload left beside a run, made ready for the page."""

from __future__ import annotations

from dataclasses import dataclass

from trainmark import formatting
from reports.images import Sheet, sheet
from trainmark.page.plots.canvas import Plot
from reports.lecture_plots import confusion_plot, shift_plot
from bench.lecture.findings import VERDICTS, Claim, Lecture

STAGES = ("early", "middle", "later")
_STAGE_WORDS = {"early": "edges", "middle": "parts of strokes", "later": "what is left after two poolings"}


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
        claims: In the order of the lecture.
        plots: Shifted digits, confused digits.
        pictures: Kernels, feature maps, digits; those that are not there are left out.
    """

    sentence: str
    claims: tuple[Claim, ...]
    plots: tuple[Plot, ...]
    pictures: tuple[Pictures, ...]


def lesson(lecture: Lecture) -> Lesson:
    """All that the page shows of it."""
    counts = {word: sum(claim.verdict == word for claim in lecture.claims) for word in VERDICTS}
    sentence = f"{counts['holds']} of {len(lecture.claims)} claims hold, {counts['fails']} fail"
    sentence += f", {counts['not checked']} could not be checked here." if counts["not checked"] else "."
    plots = (shift_plot(lecture.shifts), confusion_plot(lecture.confusion))
    pictures = (_kernels(lecture), _by_hand(lecture), *_maps(lecture), _misread(lecture))
    return Lesson(
        sentence,
        lecture.claims,
        tuple(plot for plot in plots if plot is not None),
        tuple(some for some in pictures if some is not None and some.sheets),
    )


def _kernels(lecture: Lecture) -> Pictures | None:
    sheets = tuple(
        sheet(f"{word.capitalize()} training", f"{len(images)} kernels of 3x3 {word} training", images, 8, 260)
        for word in ("before", "after")
        if (images := lecture.group(f"kernels {word}"))
    )
    reading = (
        "The CNN's first kernels, as a grey image meets them. Random numbers before; after, many have a bright and a "
        "dark side: they look for edges. Orange is positive, blue negative."
    )
    return Pictures("First-layer kernels", reading, sheets)


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
    reading = "The same digit through kernels made by hand, and through those that training found."
    return Pictures("By hand and learned", reading, sheets)


def _maps(lecture: Lecture) -> list[Pictures]:
    found = []
    for image in (one for one in lecture.images if one.group.startswith("digit ")):
        digit = image.group.removeprefix("digit ")
        sheets = [sheet("The digit", f"{image.caption} of the held-out digits", [image], 1, 120)]
        sheets += [
            sheet(
                f"{stage.capitalize()}: {_STAGE_WORDS[stage]}",
                f"{len(maps)} feature maps of {maps[0].height}x{maps[0].width} for {image.caption}",
                maps,
                4,
                260,
            )
            for stage in STAGES
            if (maps := lecture.group(f"maps {digit} {stage}"))
        ]
        reading = (
            "The strongest maps of three layers: the later, the coarser the place and the rarer what it answers to."
        )
        found.append(Pictures(f"Feature maps of {formatting.plain(image.caption, 40)}", reading, tuple(sheets)))
    return found


def _misread(lecture: Lecture) -> Pictures | None:
    images = lecture.group("misread")
    if not images:
        return None
    alt = f"{len(images)} misread digits: {'; '.join(image.caption for image in images)}"
    shown = sheet("Most confident mistakes", formatting.plain(alt, 600), images, 4, 330, captions=True)
    return Pictures("Misread digits", "What the CNN read with the most confidence, and wrongly.", (shown,))
