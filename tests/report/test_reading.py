"""Reading runs: sampled by a stated rule, unharmed by half-written files; show, watch, plot."""

from __future__ import annotations

import base64
import gzip
import io
import json
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from himac.cli.main import main
from himac.errors import DataError
from himac.report.curves import plot_run, plot_runs
from himac.report.episode_index import choose_sample, find_lines, read_lines
from himac.report.page import build_report, render
from himac.report.reading import pack_episodes, read_settings, sample_episodes
from himac.report.show import show_episode
from himac.report.vocabulary import find_tokenizer, token_texts
from himac.runs.folder import EPISODES, METRICS, read_rows


def _copy(run_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run_folder, tmp_path / "copy"))


def test_every_episode_is_kept_whole_when_there_is_room(run_folder: Path) -> None:
    packed = pack_episodes(run_folder, choose_sample(find_lines(run_folder), 1000))
    rows = list(read_rows(run_folder / EPISODES))
    assert len(packed["rows"]) == len(rows)
    where = dict(zip(packed["columns"], packed["rows"][-1]))
    chunk = json.loads(gzip.decompress(base64.b64decode(packed["chunks"][where["chunk"]])))
    assert chunk[where["place"]]["contexts"] == rows[-1]["contexts"]
    assert where["stop"] == rows[-1]["stop"] and where["env_steps"] == rows[-1]["env_steps"]


def test_a_sample_is_of_whole_groups_and_says_its_rule(run_folder: Path) -> None:
    sampled = choose_sample(find_lines(run_folder), 20)
    packed = pack_episodes(run_folder, sampled)
    place = {name: i for i, name in enumerate(packed["columns"])}
    sizes: dict[tuple[object, ...], int] = {}
    for row in packed["rows"]:
        key = (row[place["iteration"]], row[place["phase"]], row[place["group"]])
        sizes[key] = sizes.get(key, 0) + 1
    assert sizes == {(0, "eval", 0): 1, (0, "eval", 2): 1, (0, "eval", 4): 1, (1, "planner", 0): 4, (1, "executor", 0): 3,
                     (2, "planner", 0): 4, (2, "executor", 0): 3, (2, "eval", 0): 1, (2, "eval", 2): 1, (2, "eval", 4): 1}  # fmt: skip
    assert sampled.rule.startswith("20 of 38 episodes are shown: of every iteration, whole groups, 1 in 2")


def test_iterations_are_thinned_when_one_group_each_is_too_much(run_folder: Path) -> None:
    sampled = choose_sample(find_lines(run_folder), 9)
    assert len(pack_episodes(run_folder, sampled)["rows"]) <= 9
    assert "1 in 2 iterations" in sampled.rule


def test_a_sample_is_thinned_until_it_fits_into_the_file(run_folder: Path) -> None:
    lines = find_lines(run_folder)
    longest = len(pack_episodes(run_folder, choose_sample(lines, 1000))["chunks"][0])
    sampled, packed = sample_episodes(run_folder, 1000, 10**9)
    assert len(packed["rows"]) == 38 and sampled.rule == "Every episode of the file is shown."
    sampled, packed = sample_episodes(run_folder, 1000, longest)
    assert 1 <= len(packed["rows"]) < 38
    assert sum(map(len, packed["chunks"])) <= longest
    assert sampled.rule.startswith(f"{len(packed['rows'])} of 38 episodes are shown")
    assert sampled.rule.endswith(f"More would make them larger than {longest / 1e6:.3g} MB.")
    _, least = sample_episodes(run_folder, 1000, 1)
    assert len(least["rows"]) >= 1  # something is shown however little room there is


def test_only_the_chosen_lines_are_read(run_folder: Path, tmp_path: Path) -> None:
    """The others may hold anything: they are told apart by their heads alone."""
    folder = _copy(run_folder, tmp_path)
    lines = find_lines(folder)
    chosen = choose_sample(lines, 20).lines
    text = bytearray((folder / EPISODES).read_bytes())
    for line in set(lines) - set(chosen):
        text[line.start + 80 : line.start + line.length - 1] = b"x" * (line.length - 81)
    (folder / EPISODES).write_bytes(bytes(text))
    assert find_lines(folder) == lines
    rows = list(read_lines(folder, choose_sample(find_lines(folder), 20).lines))
    assert [(row["iteration"], row["phase"], row["group"]) for row in rows] == [
        (line.key[0], line.key[1], line.group) for line in chosen
    ]


def test_lines_that_begin_otherwise_are_read_all_the_same(run_folder: Path, tmp_path: Path) -> None:
    folder = _copy(run_folder, tmp_path)
    rows = list(read_rows(folder / EPISODES))
    turned = [dict(reversed(row.items())) for row in rows]
    (folder / EPISODES).write_text("".join(json.dumps(row) + "\n" for row in turned) + '[1]\n{"phase": 3}\n')
    assert len(pack_episodes(folder, choose_sample(find_lines(folder), 1000))["rows"]) == len(rows)


def test_a_run_that_is_being_written_can_be_read(run_folder: Path, tmp_path: Path) -> None:
    folder = _copy(run_folder, tmp_path)
    for name in (METRICS, EPISODES):
        text = (folder / name).read_bytes()
        (folder / name).write_bytes(text[: len(text) - 200])
    rows = pack_episodes(folder, choose_sample(find_lines(folder), 1000))["rows"]
    assert len(rows) == 37
    assert build_report([folder], tmp_path / "report.html").stat().st_size > 10_000


def test_a_run_without_files_is_an_empty_report(run_folder: Path, tmp_path: Path) -> None:
    folder = _copy(run_folder, tmp_path)
    (folder / METRICS).unlink()
    (folder / EPISODES).unlink()
    assert build_report([folder], tmp_path / "report.html").is_file()
    with pytest.raises(DataError, match="nothing to draw yet"):
        plot_run(folder)


def test_token_texts_are_the_run_s_own(run_folder: Path) -> None:
    row = next(iter(read_rows(run_folder / EPISODES)))
    tokenizer = find_tokenizer(run_folder)
    assert tokenizer == run_folder / "start" / "tokenizer.json"
    plan, ids = row["planning"], row["contexts"][0]["ids"]
    texts = token_texts(tokenizer, ids)
    assert "".join(texts[i] for i in ids[plan["start"] : plan["end"]]).startswith(plan["text"])


def test_settings_name_what_left_default_and_recipe(run_folder: Path, tmp_path: Path) -> None:
    folder = _copy(run_folder, tmp_path)
    (folder / "recipe.toml").write_text("[rollout]\ngroup_size = 16\n")
    told = {key: rest for key, *rest in read_settings(folder)}
    assert told["rollout.group_size"] == ["8", "16", "4"]
    assert told["run.iterations"] == ["150", "", "2"]
    assert "algo.method" not in told


def test_no_markup_of_the_data_stands_in_the_page() -> None:
    page = render(
        {
            "made": "",
            "himac": "",
            "runs": [{"name": "</script><script>x</script> & {{DATA}}", "x": float("nan")}],
        }
    )
    assert page.count("</script>") == 2 and page.count("<script") == 2
    assert "http://" not in page.replace("http://www.w3.org/2000/svg", "") and "https://" not in page
    inside = page.split('id="data">')[1].split("</script>")[0]
    assert json.loads(inside)["runs"][0] == {"name": "</script><script>x</script> & {{DATA}}", "x": None}


def test_show_prints_the_episode_and_no_control_characters(hostile_folder: Path) -> None:
    out = io.StringIO()
    for row in read_rows(hostile_folder / EPISODES):
        show_episode(row, Console(file=out, width=100, highlight=False))
    text = out.getvalue()
    assert "blueprint" in text and "<script>window.pwned=1</script>" in text
    assert "\x1b" not in text


def test_show_filters(run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(run_folder), "--phase", "executor", "--iteration", "2", "--count", "99"]) == 0
    assert capsys.readouterr().out.count("iteration 2, executor") == 6
    assert main(["show", str(run_folder), "--iteration", "77"]) == 0
    assert capsys.readouterr().out == "no episode matches\n"
    assert main(["show", str(run_folder), "--stop", "succes"]) == 2
    assert "did you mean 'success'?" in capsys.readouterr().err


def test_plots_are_written_as_png_and_svg(run_folder: Path, tmp_path: Path) -> None:
    folder = _copy(run_folder, tmp_path)
    assert plot_run(folder) == folder / "curve.png"
    png, svg = plot_runs([folder, run_folder], tmp_path / "both.v2")
    assert png.read_bytes()[:4] == b"\x89PNG" and svg.read_text().count("<svg") == 1
    assert [png.name, svg.name] == ["both.v2.png", "both.v2.svg"]


def test_several_runs_are_drawn_on_the_split_that_most_evaluations_are_of(
    run_folder: Path, tmp_path: Path
) -> None:
    """A final split told once, before training, is not what runs are compared on."""
    folder = _copy(run_folder, tmp_path)
    first = next(row for row in read_rows(folder / METRICS) if row["phase"] == "eval")
    with open(folder / METRICS) as file:
        rest = file.read()
    (folder / METRICS).write_text(json.dumps({**first, "split": "final"}) + "\n" + rest)
    _, svg = plot_runs([folder, run_folder], tmp_path / "both")
    text = svg.read_text()
    assert text.count("(val), 95 % interval") == 2 and "final" not in text
