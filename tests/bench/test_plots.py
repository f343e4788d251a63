"""``python -m bench plots``: draws the tables of the newest results."""

from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

from bench import machine, plots
from bench.report import Section, render
from bench.svg import decades, up_to

SVG = "{http://www.w3.org/2000/svg}"
LOADS = ["events/s", "p50, ms", "p99, ms", "CPU, us"]
QUERIES = ["the newest 20 events, ms", "`latest` of one device, ms"]
PEERS = ["What", "start, ms", "CPU, us at 1", "p50, us at 1", "p99, us at 1", "CPU, us at 8"]
SECTIONS = [
    *(
        Section(
            f"growth: {name}",
            [name, *(f"{store}: {each}" for store in ("SQLite", "Postgres") for each in columns)],
            rows,
        )
        for name, columns, rows in (
            ("connections", LOADS, [["1", *["900.5"] * 8], ["64", *["12,345"] * 8], ["256", *["13,000"] * 8]]),
            ("bytes", LOADS, [["400", *["60"] * 8], ["65,536", *["700"] * 8]]),
            ("samples", LOADS, [["1", *["60"] * 8], ["30", *["80"] * 8]]),
            ("rows", QUERIES, [["1,000", *["0.1"] * 4], ["10,000", *["2"] * 4]]),
        )
    ),
    Section("peers: beside", PEERS, [["A: peer", *["9"] * 5], ["A: x peer", *["0.5"] * 5]]),
]
DRAWN = {"connections": 6, "bytes": 4, "samples": 4, "rows": 8, "peers": 3}


def test_each_plot_has_title_axes_legend_and_all_points(tmp_path: Path) -> None:
    text = render(datetime.now(UTC), "bench", machine.describe(), SECTIONS, [])
    (tmp_path / "2026-01-02T000000Z.md").write_text(text)
    (tmp_path / "2026-01-01T000000Z.md").write_text(text.replace("13,000", "1"))
    assert plots.main(tmp_path, tmp_path / "plots") == 0
    for name, points in DRAWN.items():
        root = ElementTree.parse(tmp_path / "plots" / f"{name}.svg").getroot()
        assert len(root.findall(f"{SVG}circle")) + len(root.findall(f"{SVG}rect")) == points, name
        words = {each.text for each in root.iter(f"{SVG}text")}
        assert "2026-01-02T000000Z.md" in words, "the newest"
        assert len(words) > 8, name
        width, height = map(float, root.attrib["viewBox"].split()[2:])
        for circle in root.findall(f"{SVG}circle"):
            assert 0 < float(circle.attrib["cx"]) < width, name
            assert 0 < float(circle.attrib["cy"]) < height, name


def test_missing_results_leave_a_plot_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "plots").mkdir()
    (tmp_path / "plots" / "peers.svg").write_text("the last one")
    assert plots.main(tmp_path, tmp_path / "plots") == 0
    assert [path.read_text() for path in (tmp_path / "plots").iterdir()] == ["the last one"]


def test_ticks_are_round_and_include_all_values() -> None:
    for most in (0.03, 0.9, 1, 2.67, 13_106, 99_999):
        ticks = up_to(most)
        assert ticks[0] == 0
        assert ticks[-2] < most <= ticks[-1]
        assert 2 <= len(ticks) <= 8
    assert decades([0.97, 32]) == [0.1, 1, 10, 100]
    assert decades([1, 1]) == [1, 10]
