"""The report: JSON that any reader takes, a page that needs nothing but itself, written whole."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from talksplat.errors import ArtefactError, MissingInput
from talksplat.metrics.steadiness import Steadiness
from talksplat.metrics.sync import Interval
from talksplat.report.figures import (
    AREAS,
    AVATAR,
    BASELINES,
    LINEAR,
    TRUTH,
    EvaluationReport,
    EyeScore,
    ForeignVoice,
    Gain,
    HeadScore,
    HeldOut,
    LipScore,
    Score,
    SilenceScore,
    SpeedScore,
    Subject,
    plain,
    read_report,
    write_report,
)
from talksplat.report.gallery import Exhibit, Gallery, contact_sheet
from talksplat.report.page import interval, number, write_page
from talksplat.report.plots import heat_strip, line_plot

NAN = float("nan")
VOID = {"meta", "img", "br", "hr", "link", "input"}


@pytest.fixture
def report() -> EvaluationReport:
    lips = [
        LipScore(name, Interval(0.6, 0.4, 0.7), 0.65, -1, Interval(2.0, 1.8, 2.2), Interval(2.5, 2.2, 2.8), 0)
        for name in (AVATAR, *BASELINES)
    ]
    lips.append(LipScore(LINEAR, Interval(0.5, 0.3, 0.6), 0.5, 0, *[Interval(NAN, NAN, NAN)] * 2, 0))
    wave = np.sin(np.arange(60) / 4) * 0.05 + 0.06
    return EvaluationReport(
        subject=Subject("anna.avatar", "anna", 'a<b>"&.mp4', "own <recording>", "m", "quick", "e", 64, 600, 60, 59, 30),
        scores=[Score(c, a, "psnr", Interval(30.0, 29.0, 31.0)) for c in (AVATAR, *BASELINES) for a in AREAS],
        gains=[Gain(c, a, "psnr", Interval(1.0, 0.5, 1.5)) for c in BASELINES for a in AREAS],
        lips=lips,
        lip_gain=Interval(0.1, -0.05, 0.2),
        head=HeadScore(Steadiness(0.5, 0.3), Steadiness(0.4, 0.2), Steadiness(0.2, 0.1)),
        silence=SilenceScore(0.02, 0.01, 0.05, 0.2, 50, 1),
        eyes=EyeScore(Interval(0.8, 0.7, 0.9), 0.21, 0.07, 10),
        speed=SpeedScore(25.0, 40.0, 44.0, 12.0, 800.0),
        series=HeldOut(
            frames=list(range(600, 660)),
            openings={TRUTH: wave.tolist(), AVATAR: [*(wave * 0.9).tolist()[:-1], NAN], LINEAR: [0.05] * 60},
            errors={"psnr": (wave * 100 + 25).tolist()},
            mouth_errors={"psnr": (wave * 100 + 20).tolist()},
            distances={AVATAR: [*(wave * 20).tolist()[:-1], NAN]},
            closed_mouth=0.01,
        ),
        notes=["LPIPS is not available."],
        machine={"command": "talksplat evaluate <a>", "torch": "2.13"},
        foreign=[ForeignVoice("bob", "<bob>.mp4", 500, Interval(0.4321, 0.3, 0.5), 0.5, -1)],
    )


@pytest.fixture
def gallery() -> Gallery:
    chance = np.random.default_rng(0)
    gallery = Gallery(silent=[chance.integers(0, 255, (32, 32, 3), dtype=np.uint8)])
    for index in (640, 610):
        pictures = {name: chance.integers(0, 255, (64, 64, 3), dtype=np.uint8) for name in (TRUTH, AVATAR, *BASELINES)}
        gallery.add(Exhibit(index, "lips apart", pictures, (30, 20, 32)))
    return gallery


class Outline(HTMLParser):
    """Tags that are open, and all attributes that fetch something."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_json_is_strict_and_comes_back(tmp_path: Path, report: EvaluationReport):
    write_report(tmp_path / "report.json", report)
    text = (tmp_path / "report.json").read_text()
    value = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert value == read_report(tmp_path / "report.json") == plain(report)
    assert value["lips"][-1]["distance"]["value"] is None
    assert value["series"]["openings"][AVATAR][-1] is None
    assert value["series"]["openings"][TRUTH][3] == report.series.openings[TRUTH][3]


def test_a_file_that_is_no_report_is_refused(tmp_path: Path):
    path = tmp_path / "report.json"
    with pytest.raises(MissingInput):
        read_report(path)
    path.write_text("{}")
    with pytest.raises(ArtefactError, match="is not a report"):
        read_report(path)
    path.write_text('{"format": 99}')
    with pytest.raises(ArtefactError, match="format 99; this version reads format 1"):
        read_report(path)


def test_the_page_needs_nothing_but_itself(tmp_path: Path, report: EvaluationReport, gallery: Gallery):
    write_page(tmp_path / "report.html", report, gallery)
    text = (tmp_path / "report.html").read_text()
    outline = Outline()
    outline.feed(text)
    assert outline.open == []
    assert len(outline.fetched) == 2 * 5 * 2 + 1  # whole and mouth, five columns, two rows; one mouth in silence
    assert all(address.startswith("data:image/jpeg;base64,") for address in outline.fetched)
    assert not re.search(r"https?://|url\(|@import|<script|<link", text)
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_what_users_wrote_is_escaped_and_every_figure_is_there(
    tmp_path: Path, report: EvaluationReport, gallery: Gallery
):
    write_page(tmp_path / "report.html", report, gallery)
    text = (tmp_path / "report.html").read_text()
    assert "a&lt;b&gt;&quot;&amp;.mp4" in text
    assert "own &lt;recording&gt;" in text
    assert "<recording>" not in text
    assert "bob (&lt;bob&gt;.mp4)" in text
    assert "0.43 <small>0.30 … 0.50</small>" in text
    for name in (*BASELINES, LINEAR, "GSTalker", "other data", "LPIPS is not available.", "25.0 frames a second"):
        assert name in text
    assert text.index("frame 610") < text.index("frame 640")


def test_a_failed_write_leaves_the_old_page(tmp_path: Path, report: EvaluationReport, gallery: Gallery):
    path = tmp_path / "report.html"
    path.write_text("the old one")
    gallery.exhibits[1].pictures.pop(AVATAR)
    with pytest.raises(KeyError):
        write_page(path, report, gallery)
    assert path.read_text() == "the old one"
    assert len(list(tmp_path.iterdir())) == 1


def test_figures_read_well():
    assert number(NAN) == number(None) == "–"
    assert number(-1.234) == "\N{MINUS SIGN}1.23"
    assert interval(Interval(0.5, NAN, NAN)) == "0.50"
    assert interval(Interval(0.5, 0.4, 0.6)) == "0.50 <small>0.40 … 0.60</small>"


def test_a_gap_breaks_the_line_and_an_empty_series_is_no_error():
    svg = line_plot({"truth": [0.1, 0.2, NAN, 0.3, 0.4]}, 100, "opening")
    drawn = re.search(r'class="line line-0" d="([^"]*)"', svg)
    assert drawn is not None
    assert drawn[1].count("M") == 2
    assert drawn[1].count("L") == 2
    assert line_plot({"truth": [NAN, NAN]}, 0, "opening") == "<p>nothing to plot</p>"
    assert heat_strip("PSNR", [NAN], 0, True) == ""


def test_the_worst_frame_is_the_darkest():
    cells = re.findall(r'fill-opacity="([\d.]+)"><title>frame (\d+)', heat_strip("PSNR", [30.0, 20.0, 25.0], 7, True))
    assert max(cells)[1] == "8"
    cells = re.findall(r'fill-opacity="([\d.]+)"><title>frame (\d+)', heat_strip("LPIPS", [30.0, 20.0, 25.0], 7, False))
    assert max(cells)[1] == "7"


def test_the_contact_sheet_shows_a_row_a_frame(gallery: Gallery):
    sheet = contact_sheet(gallery, (TRUTH, AVATAR), edge=64)
    assert sheet.shape == (18 + 2 * 64, 2 * 96, 3)
    assert np.array_equal(sheet[18 + 64 :, :64], gallery.exhibits[1].pictures[TRUTH])
