"""Tables, figures and report of an evaluation, from rows with known answers and small drawn slices."""

from __future__ import annotations

import base64
import io
import os
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import matplotlib.image
import numpy as np
import pytest

from PETSuperResLib.errors import InputError
from PETSuperResLib.prior import Prior
from PETSuperResLib.studies.evaluation import tables
from PETSuperResLib.studies.evaluation.expectations import expectations, oracle_lines
from PETSuperResLib.studies.evaluation.figures import lesion_figure, method_figure, seconds_figure
from PETSuperResLib.studies.evaluation.paper_tables import beside_paper, published
from PETSuperResLib.studies.evaluation.report import write_report
from PETSuperResLib.studies.evaluation.slice_figure import COLUMNS, ZOOM_MM, MethodFigure
from PETSuperResLib.studies.evaluation.summary import write_summary
from PETSuperResLib.studies.evaluation.tables import (
    BASELINE,
    FAVOURITE,
    best_oracle,
    gain_table,
    groups,
    lesion_table,
    margin_table,
    metric_table,
    size_table,
)
from PETSuperResLib.studies.evaluation.trials import Results
from PETSuperResLib.studies.methods import METHODS

CONDITION = {"counts": "realistic", "reference": "real", "input": "sinogram", "told": ""}
HOSTILE = "<img src=x onerror=alert(1)>&\"'"
PATIENT = "O'Hara &lt;b&gt;"  # may be a file's name everywhere


class FakePrior(Prior):
    """A prior without a network: what a report needs of one."""

    def __init__(self) -> None:
        self.sha256, self.info = "0123456789abcdef" * 4, {"trained_on": f"nothing {HOSTILE}"}


def metric(patient: str, method: str, psnr: float, **other: object) -> dict[str, object]:
    row = {"patient": patient, "setting": "standard", "method": method, **CONDITION}
    scores = {"psnr": psnr, "ssim": psnr / 50, "nmse": 1 / psnr, "psnr_body": psnr, "ssim_body": 0.5, "nmse_body": 0.1}
    scores["noise_percent"] = 100 / psnr
    return row | scores | {"seconds": 1.5} | other


def lesion(patient: str, method: str, top: float | None, mean: float = 1.0, **other: object) -> dict[str, object]:
    row = {"patient": patient, "setting": "standard", "method": method, **CONDITION}
    return row | {
        "lesion": "Lesion 1", "volume_ml": "", "delta_suvmax_percent": top, "delta_suvmean_percent": mean, "nmse": 0.01
    } | other  # fmt: skip


def cohort(methods: dict[str, float], patients: int = 6, **other: object) -> list[dict[str, object]]:
    """Rows with PSNR 30, 31, ... by patient, plus the method's own offset."""
    return [
        metric(f"P{n}", name, 30.0 + n + offset, **other) for n in range(patients) for name, offset in methods.items()
    ]


def slices(methods: int = 3, shape: tuple[int, int] = (40, 60)) -> dict[str, np.ndarray]:
    """A disc of tissue with a hot spot at (12, 40), and methods that are off by 1, 2, ... SUV everywhere."""
    y, x = np.indices(shape)
    body = (y - shape[0] / 2) ** 2 / (shape[0] / 2 - 4) ** 2 + (x - shape[1] / 2) ** 2 / (shape[1] / 2 - 4) ** 2 < 1
    truth = (body + 9.0 * np.exp(-((y - 12) ** 2 + (x - 40) ** 2) / 8)).astype(np.float32)
    names = list(METHODS)[:methods]
    images = {name: truth + np.float32(n) for n, name in enumerate(names, 1)}
    return {"CT": np.where(body, 40.0, -1000.0).astype(np.float32), "truth": truth} | images


class Page(HTMLParser):
    """What a browser would find: tags with attributes, whether they balance, the text of every cell."""

    EMPTY = ("meta", "img", "br", "link", "input", "hr")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.rows: list[list[str]] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.EMPTY:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data
        if "td" in self.open or "th" in self.open:
            self.rows[-1][-1] += data

    def named(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


# --- tables


def test_best_second_and_star_are_those_of_the_rows():
    table = metric_table(cohort({"a": 0.0, "b": 2.0, "c": 1.0}))
    psnr = {row[0].text: row[1] for row in table.rows}
    assert {m: cell.rank for m, cell in psnr.items()} == {"a": 0, "b": 1, "c": 2}
    assert {m: cell.star for m, cell in psnr.items()} == {"a": True, "b": False, "c": True}  # worse for all six
    assert psnr["b"].text == "34.50 +- 1.87"  # 32 ... 37
    nmse = {row[0].text: row[3].rank for row in table.rows}
    assert nmse == {"a": 0, "b": 1, "c": 2}  # the least is the best


def test_five_patients_earn_no_star():
    assert not any(cell.star for row in metric_table(cohort({"a": 0.0, "b": 2.0}, 5)).rows for cell in row)


def test_a_mixed_difference_earns_no_star():
    rows = [metric(f"P{n}", m, 30 + n + d) for n in range(6) for m, d in (("a", (-1) ** n * 0.5), ("b", 0.1))]
    assert not any(row[1].star for row in metric_table(rows).rows)


def test_a_case_in_which_two_methods_are_equal_counts_for_no_star(monkeypatch):
    """Oracles may choose the same image; scipy 1.12, which is allowed, gives five equal signs and a tie p = 0.043."""
    rows = cohort({"a": 0.0, "b": 2.0})
    rows[0] |= {name: rows[1][name] for name in ("psnr", "ssim", "nmse", "psnr_body")}
    monkeypatch.setattr(tables, "wilcoxon", lambda *_: SimpleNamespace(pvalue=0.043))
    assert not any(cell.star for row in metric_table(rows).rows for cell in row)


def test_patients_are_paired_by_name_not_by_order():
    rows = cohort({"a": 0.0, "b": 0.1})
    shuffled = [r for r in rows if r["method"] == "a"] + [r for r in rows if r["method"] == "b"][::-1]
    assert metric_table(shuffled) == metric_table(rows)
    assert metric_table(rows).rows[0][1].star


def test_a_method_without_all_patients_is_told():
    table = metric_table(cohort({"a": 0.0, "b": 1.0})[:-1])
    assert "b has 5" in table.lines[0] and not metric_table(cohort({"a": 0.0})).lines


def test_gains_are_over_the_clinics_image_of_the_same_patient_and_lesions_from_1_ml():
    psnr = cohort({BASELINE: 0.0, "a": 2.0}, 3)
    psnr[-1]["psnr"] = 31.0  # the last case of a: 32 by the clinic's image
    measured = [
        lesion(f"P{n}", method, mean / 2, mean, volume_ml=volume)
        for method, mean in ((BASELINE, -40.0), ("a", -10.0))
        for n, volume in enumerate((0.5, 1.0, 30.0))
    ]
    measured[0] |= {"delta_suvmean_percent": -99.0}  # of a lesion below 1 mL
    table = gain_table(psnr, measured)
    assert table is not None and gain_table(cohort({"a": 0.0}), measured) is None
    base, other = ([cell.text for cell in row] for row in table.rows)
    assert base == [BASELINE, "", "", "", "3.2", "40.0", "1.00", "-20.0"]
    assert other == ["a", "+1.00", "-1.00", "3 of 3", "3.0", "10.0", "0.25", "-5.0"]


def test_gains_are_of_the_cases_that_both_have():
    psnr = [row | {"fwhm_mm": 6.0} for row in cohort({BASELINE: 0.0, "ours-draft": 2.0}, 3)]
    refused = psnr.pop()  # by ours-draft, a case that is easy for the clinic's image and wrong in its lesion
    errors = {BASELINE: (-40.0, -40.0, -90.0), "ours-draft": (-10.0, -10.0)}
    measured = [
        lesion(f"P{n}", method, mean, mean, volume_ml=5.0) for method in errors for n, mean in enumerate(errors[method])
    ]
    measured += [dict(measured[2], lesion=f"Lesion {n}") for n in (2, 3, 4)]
    table = gain_table(psnr, measured)
    assert table is not None
    assert [cell.text for cell in table.rows[1]][1:] == ["+2.00", "+2.00", "2 of 2", "3.1", "10.0", "0.25", "-10.0"]
    (found,) = expectations(psnr, measured)
    assert [cell.text for cell in found.cells()][2:6] == ["2", "6.0", "30.5 -> 32.5", "+2.00"]
    assert (found.mean.before, found.mean.after) == (40.0, 10.0)
    other = gain_table([*(row for row in psnr if row["method"] == BASELINE)][:2] + [refused], measured)
    assert other is not None and {cell.text for cell in other.rows[1][1:]} == {""}


def test_margins_are_over_each_other_method_and_by_kind_of_case():
    rows = cohort({"x-oracle": 1.0, "y-oracle": 3.0, FAVOURITE: 4.0}, 4)
    for row in rows:
        row["patient"] = {"P3": "test_torso_1"}.get(row["patient"], row["patient"])
        row["ssim"] = {"x-oracle": 0.8, "y-oracle": 0.95}.get(row["method"], 0.9)
    rows[-1]["psnr"] -= 5.0  # the torso of our own
    table = margin_table(rows)
    assert table is not None and margin_table(cohort({"a": 0.0, "b": 0.0})) is None
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["x-oracle", "+1.75", "-2.00", "3 of 4", "4 of 4", "0.50", "+3.00", "-2.00"],
        ["y-oracle", "-0.25", "-4.00", "3 of 4", "0 of 4", "2.00", "+1.00", "-4.00"],
    ]
    other = margin_table([row for row in rows if "torso" not in row["patient"]])
    assert other is not None and len(other.heading) == len(table.heading) - 2
    assert best_oracle(rows) == "y-oracle" and best_oracle(cohort({FAVOURITE: 4.0})) == ""
    (line,) = [line for line in oracle_lines(rows) if "y-oracle" in line]
    assert line.endswith("| real | y-oracle | -0.25 | -4.00 | 3 of 4 | 0 of 4 | 2.00 |")


def test_lesion_errors_are_medians_and_means():
    rows = [lesion(f"P{n}", "a", top, -top) for n, top in enumerate((-30.0, 10.0, 2.0))]
    table = lesion_table([*rows, lesion("P9", "a", None, float("nan"))])
    assert table is not None and lesion_table([]) is None
    assert [cell.text for cell in table.rows[0]] == ["a", "10.0", "10.0", "-6.0", "0.0100", "", ""]
    sized = [row | {"volume_ml": volume} for row, volume in zip(rows, (0.9, 1.0, 5.0), strict=True)]
    large = lesion_table(sized)
    assert large is not None and [cell.text for cell in large.rows[0]][5:] == ["6.0", "6.0"]
    assert "(4)" in table.lines[0]


def test_bias_and_spread_are_told_by_size():
    small = [lesion(f"P{n}", "a", top, -1.0, volume_ml=0.5) for n, top in enumerate((-30.0, -10.0))]
    large = [lesion("P3", "a", 4.0, 2.0, volume_ml=10.0), lesion("P4", "a", None, 4.0, volume_ml=99.0)]
    table = size_table(small + large)
    assert table is not None and size_table([lesion("P0", "a", 1.0)]) is None
    assert table.heading[1::2] == ("below 1 mL (2): SUVmax %", "10 mL and more (2): SUVmax %")
    assert [cell.text for cell in table.rows[0]] == ["a", "-20.0 +- 10.0", "-1.0 +- 0.0", "+4.0 +- 0.0", "+3.0 +- 1.0"]


def test_groups_are_kept_apart():
    rows = cohort({"a": 0.0}) + cohort({"a": 9.0}, 3, setting="ood")
    found = groups(rows, [lesion("P0", "a", 1.0)])
    assert [(g.condition.setting, len(g.patients), len(g.lesions)) for g in found] == [
        ("standard", 6, 1),
        ("ood", 3, 0),
    ]


# --- the paper's tables


def test_the_papers_rows_are_of_known_methods_and_ours_is_the_best_of_each():
    tables = {(row.table, row.setting): [] for row in published()}
    for row in published():
        tables[row.table, row.setting].append(row)
    assert tables.keys() == {(2, "standard"), (2, "ood"), (3, "standard")}
    for rows in tables.values():
        assert {m for row in rows for m in row.methods} <= set(METHODS) and rows[-1].name == "Ours"
        for metric, better in (("psnr", 1), ("ssim", 1), ("nmse", -1)):
            assert all(better * row.mean(metric) < better * rows[-1].mean(metric) for row in rows[:-1])


def test_ours_beside_the_paper_with_margins_over_lr():
    rows = cohort({"lr": 0.0, "scorepet": 3.0, "ours-paper": 5.0, "psf-osem": 1.0})
    ((title, table),) = beside_paper(rows)
    assert title.startswith("Table 2: Real references, setting standard")
    cells = {row[0].text: [cell.text for cell in row[1:]] for row in table.rows}
    assert list(cells) == ["lr", "scorepet", "ours-paper"]
    assert cells["scorepet"][:2] == ["43.97 +- 3.84", "35.50 +- 1.87"]
    assert cells["scorepet"][-2:] == ["+7.34", "+3.00"] and cells["lr"][-2:] == ["", ""]
    assert "Ours > ScorePET > LR; here: Ours (paper) > ScorePET > LR" in table.lines[0]


def test_the_ablations_stand_beside_table_3_only_at_the_standard_setting():
    rows = cohort({"no-dc": 1.0, "ours-paper": 2.0})
    ((title, table),) = beside_paper(rows)
    assert title.startswith("Table 3") and [c.text for c in table.rows[0][-2:]] == ["-2.92", "-1.00"]
    assert beside_paper([r | {"setting": "ood"} for r in rows]) == []


def test_the_summary_ends_with_the_paper_only_where_something_compares(tmp_path):
    alone = write_summary(tmp_path / "one.md", cohort({"psf-osem": 0.0, "lr": 1.0}), [], FakePrior())
    both = write_summary(tmp_path / "two.md", cohort({"unet": 2.0, "lr": 1.0}), [], FakePrior())
    assert "Beside the paper" not in alone.read_text(encoding="utf-8")
    text = both.read_text(encoding="utf-8")
    assert "| unet | **34.50 +- 1.87** |" in text.split("## Beside the paper")[0]
    assert "| unet | 39.50 +- 4.55 | 34.50 +- 1.87 |" in text.split("## Beside the paper")[1]
    assert "cannot be compared" in text


# --- figures


@pytest.mark.parametrize("methods", [0, 1, 6, 7, 18])
def test_every_method_has_one_column_and_every_band_the_truth(methods):
    bands = MethodFigure(slices(methods), (2.0, 2.0)).bands()
    assert [n for band in bands for n in band if n not in ("CT", "truth")] == list(METHODS)[:methods]
    assert all("truth" in band and len(band) <= COLUMNS for band in bands) and bands[0][0] == "CT"


def test_the_zoom_holds_the_hottest_point_or_the_lesion():
    images = slices()
    panel = MethodFigure(images, (2.0, 1.0))
    rows, columns = panel.zoom
    assert 12 in range(rows.start, rows.stop) and 40 in range(columns.start, columns.stop)
    assert (rows.stop - rows.start) * 2.0 == pytest.approx(ZOOM_MM, abs=2.0)
    lesion = np.zeros((200, 200), bool)
    lesion[150:160, 20:30] = True
    wide = MethodFigure(slices(1, (200, 200)), (2.0, 2.0), lesion)
    assert [(part.start + part.stop) // 2 for part in wide.zoom] == pytest.approx([155, 25], abs=1)


def test_errors_of_all_methods_share_one_symmetric_scale():
    assert MethodFigure(slices(3), (2.0, 2.0)).error_top == pytest.approx(3.0)  # the third method's


def test_a_panel_keeps_the_shape_of_its_pixels(tmp_path):
    """The same slice with pixels twice as tall is drawn taller."""
    sizes = [
        matplotlib.image.imread(method_figure(tmp_path / "p.png", slices(), spacing)).shape
        for spacing in ((2.0, 2.0), (2.0, 4.0))
    ]
    assert sizes[0][0] > sizes[1][0] and abs(sizes[0][1] - sizes[1][1]) < 20


@pytest.mark.slow
def test_eighteen_methods_fit_a_page(tmp_path):
    lesion = np.zeros((40, 60), bool)
    lesion[10:15, 38:43] = True
    tall, wide, _ = matplotlib.image.imread(method_figure(tmp_path / "p.png", slices(18), (2.0, 2.0), lesion)).shape
    assert 1000 < wide < 2000 and tall < 1.45 * wide


def test_a_flat_slice_is_drawn(tmp_path):
    flat = {name: np.zeros((20, 20), np.float32) for name in ("CT", "truth", "lr")}
    assert method_figure(tmp_path / "p.png", flat).stat().st_size > 1000


def test_slices_that_do_not_match_are_refused(tmp_path):
    with pytest.raises(InputError, match="'truth'"):
        method_figure(tmp_path / "p.png", {"CT": np.zeros((4, 4))})
    with pytest.raises(InputError, match="one shape"):
        method_figure(tmp_path / "p.png", slices() | {"lr": np.zeros((4, 4))})


def test_the_lesion_figure_grows_with_settings_and_methods(tmp_path):
    rows = [lesion("P1", m, top) for m in ("lr", "unet") for top in (-40.0, 3.0, None)]
    more = rows + [r | {"setting": "ood"} for r in rows]
    many = [lesion("P1", m, 5.0) for m in METHODS]
    one, two, three = (
        matplotlib.image.imread(lesion_figure(tmp_path / f"{n}.png", r)).shape for n, r in enumerate((rows, more, many))
    )
    assert two[0] > 1.5 * one[0] and three[0] > 1.5 * one[0] and abs(one[1] - two[1]) < 40


def test_seconds_have_a_bar_each(tmp_path):
    path = seconds_figure(tmp_path / "s.png", cohort({"lr": 0.0, "unet": 0.0}, seconds=0.0))
    assert matplotlib.image.imread(path).shape[1] > 600


# --- the report


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """An evaluation of two settings; slices of two cases, one with a hostile name."""
    out = tmp_path_factory.mktemp("evaluation")
    methods = {"lr": 0.0, "unet": 2.0, "ours-paper": 3.0, HOSTILE: 1.0}
    rows = cohort(methods) + cohort(methods, setting="ood")
    rows += [metric(PATIENT, m, 31.0 + d) for m, d in methods.items()]
    found = [lesion(f"P{n}", m, 5.0 * n - d) for n in range(3) for m, d in methods.items()]
    for patient in ("P1", PATIENT):
        kept = slices(0)
        kept |= {"lr": kept["truth"] + 1, "unet": kept["truth"] - 2}
        results = Results(slices=kept, lesion=np.zeros((40, 60), bool), spacing=(2.0, 2.0))
        results.write(out / "cases", f"{patient}_real_standard_realistic")
    (out / "cases" / "P2_real_standard_realistic.safetensors").write_bytes(b"damaged")
    write_report(out, rows, found, FakePrior())
    return out


@pytest.fixture(scope="module")
def page(folder) -> Page:
    return Page((folder / "report.html").read_text(encoding="utf-8"))


def test_the_report_is_whole_and_needs_nothing_else(page):
    assert page.open == []
    assert "Research use only" in page.text and "0123456789abcdef" * 4 in page.text
    assert "70 thousand trues per slice" in page.text and "35 thousand" in page.text
    assert not page.named("script") and not page.named("link") and not page.named("iframe")
    links = [a["href"] for a in page.named("a")]
    assert links and all(link.startswith("#") for link in links)
    assert {link[1:] for link in links} == {s["id"] for s in page.named("section")}


def test_the_report_has_every_table(page):
    heads = [row[:2] for row in page.rows if row and row[0] == "Method"]
    assert heads.count(["Method", "PSNR dB"]) == 2  # settings
    assert heads.count(["Method", "median abs delta SUVmax %"]) == 1
    assert heads.count(["Method", "PSNR dB, paper"]) == 2  # Table 2 at both settings
    assert heads.count(["Method", "Name"]) == 1
    unet = [row for row in page.rows if row[0] == "UNet" and "\N{PLUS-MINUS SIGN}" in row[1]]
    assert unet[1][1] == "34.50 \N{PLUS-MINUS SIGN} 1.87*"  # at ood: second of six patients, and starred


def test_the_report_marks_best_and_second(folder):
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert '<span class="best">35.50 \N{PLUS-MINUS SIGN} 1.87</span></td>' in text
    assert '<span class="second">34.50 \N{PLUS-MINUS SIGN} 1.87</span>*</td>' in text


def test_the_report_holds_every_picture(page, folder):
    pictures = [image["src"] for image in page.named("img")]
    assert all(picture.startswith("data:image/png;base64,") for picture in pictures)
    shapes = [matplotlib.image.imread(io.BytesIO(base64.b64decode(p.split(",")[1]))).shape for p in pictures]
    assert len(shapes) == 4 and all(wide > 500 for _, wide, _ in shapes)  # lesions, two panels, seconds
    assert len(list((folder / "figures").glob("*.png"))) == 4
    assert "P2_real_standard_realistic" in page.text  # damaged: named as missing


def test_hostile_names_are_text(page):
    assert HOSTILE in page.text and not any("onerror" in attributes for _, attributes in page.tags)
    assert PATIENT in page.text and any(PATIENT in (image["alt"] or "") for image in page.named("img"))


def test_a_panel_is_drawn_again_only_when_its_slices_are_newer(folder):
    picture = folder / "figures" / "P1_real_standard_realistic.png"
    kept = folder / "cases" / "P1_real_standard_realistic.safetensors"
    picture.write_bytes(before := picture.read_bytes() + b" ")
    rows = cohort({"lr": 0.0, "unet": 1.0}, 2)
    write_report(folder, rows, [], FakePrior())
    assert picture.read_bytes() == before
    os.utime(kept, (picture.stat().st_mtime + 10,) * 2)
    write_report(folder, rows, [], FakePrior())
    assert picture.read_bytes() != before


def test_a_report_without_lesions_or_slices_says_so(tmp_path):
    text = Page(write_report(tmp_path, cohort({"osem": 0.0}, 1), [], FakePrior()).read_text(encoding="utf-8")).text
    assert "No lesion contours" in text and "No slices were kept" in text and "Errors of each lesion" not in text
