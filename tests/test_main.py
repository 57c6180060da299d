"""The command line."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest

from pidjax.__main__ import main

LETTERS = ("R", "U1", "U2", "S")
FEW = ["--bootstrap", "5", "--permutations", "5"]
NAMES = ["--x1", "a", "--x2", "b", "--y", "c"]


@pytest.fixture
def xor(tmp_path):
    """XOR in exact proportions, 100 samples: one bit of synergy."""
    a, b = np.tile([[0, 0, 1, 1], [0, 1, 0, 1]], 25)
    path = tmp_path / "xor.npz"
    np.savez(path, a=a, b=np.array(["no", "yes"])[b], c=a ^ b, wide=np.column_stack([a, b]), real=a / 1)
    return path


def atoms(text):
    """The first number of each atom's row."""
    return {letter: float(re.search(rf" {letter} +(\S+)", text)[1]) for letter in LETTERS}


def test_an_npz_becomes_a_table(xor, capsys):
    assert main(["quantify", str(xor), *NAMES, *FEW]) == 0
    out, err = capsys.readouterr()
    assert atoms(out) == {"R": 0, "U1": 0, "U2": 0, "S": 0.69315}
    assert "nats" in out
    assert err == ""  # progress is for terminals


def test_bits_shows_bits_only(xor, capsys):
    assert main(["quantify", str(xor), *NAMES, "--bits", *FEW]) == 0
    out, _ = capsys.readouterr()
    assert atoms(out) == {"R": 0, "U1": 0, "U2": 0, "S": 1}
    assert "0.69315" not in out


@pytest.mark.slow
def test_of_a_continuous_target_it_says_where_values_of_samples_are(tmp_path, capsys):
    path = tmp_path / "real.npz"
    np.savez(path, **dict(zip("abc", np.random.default_rng(0).normal(size=(3, 100)), strict=True)))
    assert main(["quantify", str(path), *NAMES, "--per-sample", str(tmp_path / "out.csv"), "--bootstrap", "5"]) == 2
    assert "gaussian_pointwise" in capsys.readouterr().err


def test_json_stays_in_nats_and_carries_the_seed(xor, tmp_path, capsys):
    path = tmp_path / "out.json"
    assert main(["quantify", str(xor), *NAMES, "--bits", "--seed", "3", "--json", str(path), *FEW]) == 0
    found = json.loads(path.read_text())
    assert found["units"] == "nats"
    # 1e-9 is the certified gap.
    assert abs(found["pid"]["synergy"] - np.log(2)) < 1e-9
    assert found["seed"] == 3
    assert len(found["interval"]["synergy"]) == 2


def test_the_plot_is_written_as_a_picture(xor, tmp_path, capsys):
    path = tmp_path / "out.png"
    assert main(["quantify", str(xor), *NAMES, "--plot", str(path), *FEW]) == 0
    assert path.read_bytes().startswith(b"\x89PNG")


def test_each_sample_is_written_listed_and_drawn(xor, tmp_path, capsys):
    table, picture = tmp_path / "samples.csv", tmp_path / "samples.png"
    assert main(["quantify", str(xor), *NAMES, "--per-sample", str(table), "--plot-samples", str(picture), *FEW]) == 0
    found = np.genfromtxt(table, delimiter=",", names=True)
    assert found["sample"].tolist() == list(range(100))
    assert found["y"].tolist() == np.tile([0, 1, 1, 0], 25).tolist()
    np.testing.assert_allclose(found["synergy"], np.log(2), atol=1e-9)
    out, _ = capsys.readouterr()
    lists = re.findall(r"^Samples \(rows from 0\), most (\w+): +(.*)$", out, re.M)
    assert [name for name, _ in lists] == ["redundant", "synergetic"]
    assert all(len(set(rows.split(", "))) == 10 for _, rows in lists)
    assert out.index("Certified") < out.index("most redundant")
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_groups_are_resampled_whole(xor, tmp_path, capsys):
    with np.load(xor) as file:
        arrays = {name: file[name] for name in ("a", "b", "c")}
    path = tmp_path / "groups.npz"
    np.savez(path, **arrays, speaker=np.repeat([f"speaker {i}" for i in range(25)], 4))
    assert main(["quantify", str(path), *NAMES, "--groups", "speaker", *FEW]) == 0
    out, _ = capsys.readouterr()
    assert "5 bootstrap replicates of 25 groups" in out
    # Every speaker says XOR in full: whoever is drawn, the table is the same.
    assert re.search(r" S +0\.69315 +0\.6931 \.\. +0\.6931 ", out)
    assert main(["quantify", str(path), *NAMES, "--groups", "clip", *FEW]) == 2
    assert "has no array 'clip'; it has: a, b, c, speaker" in capsys.readouterr().err


def test_lsmi_of_symbols_is_a_table_a_file_and_a_list(xor, tmp_path, capsys):
    table, path = tmp_path / "samples.csv", tmp_path / "out.json"
    arguments = ["--method", "lsmi", "--per-sample", str(table), "--json", str(path), "--bootstrap", "5"]
    assert main(["quantify", str(xor), *NAMES, *arguments]) == 0
    out, err = capsys.readouterr()
    assert atoms(out) == {"R": 0, "U1": 0, "U2": 0, "S": 0.69315}  # XOR: neither surprises more, neither informs
    assert "No certificate" in out
    assert err == ""
    report = json.loads(path.read_text())
    assert report["gap"] is None
    assert report["seed"] == 0
    assert report["variants"]["constant shift"]["synergy"] == pytest.approx(np.log(2), abs=1e-12)
    np.testing.assert_allclose(np.genfromtxt(table, delimiter=",", names=True)["synergy"], np.log(2), atol=1e-12)
    assert main(["quantify", str(xor), *NAMES, "--method", "lsmi", "--permutations", "5"]) == 2
    assert "permutations is 5: lsmi would have to be trained as many times" in capsys.readouterr().err
    assert main(["quantify", str(xor), "--x1", "wide", "--x2", "b", "--y", "c", "--method", "lsmi"]) == 2
    assert "one modality is symbols and the other features" in capsys.readouterr().err


@pytest.mark.slow
def test_lsmi_of_features_writes_and_draws_every_sample(tmp_path, capsys):
    """The default recipe on 300 samples; y is a's sign, so its information is that of a coin, and b's is none."""
    a, b = np.random.default_rng(0).normal(size=(2, 300))
    data, table, picture, path = (tmp_path / name for name in ("data.npz", "atoms.csv", "atoms.png", "out.json"))
    np.savez(data, a=a, b=b, c=np.where(a > 0, "up", "down"))
    arguments = ["--per-sample", str(table), "--plot-samples", str(picture), "--json", str(path)]
    assert main(["quantify", str(data), *NAMES, "--method", "lsmi", *arguments]) == 0
    out, _ = capsys.readouterr()
    assert "x1: 1 feature, x2: 1 feature, y: 2 labels; LSMI, 5-fold cross-fitted" in out
    assert "most synergetic: " in out
    report = json.loads(path.read_text())
    assert report["gap"] is None
    # A step learned from 240 samples is off by a sample or two on either side: 0.05 nats and more from log 2.
    assert report["information"]["x1"] == pytest.approx(np.log(2), abs=0.1)
    assert abs(report["information"]["x2"]) < 0.03  # two slopes and an offset learned from nothing: 3 / 300 nats
    found = np.genfromtxt(table, delimiter=",", names=True, dtype=None, encoding="utf-8")
    assert found["y"].tolist() == np.where(a > 0, "up", "down").tolist()
    for column, atom in (("redundancy", "redundancy"), ("synergy", "synergy")):
        assert found[column].mean() == pytest.approx(report["pid"][atom], abs=1e-9)
    np.testing.assert_allclose(found["redundancy"] + found["unique1"], found["i1"], atol=1e-5)  # float32
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_features_are_discretised(xor, capsys):
    arguments = [
        "--x1",
        "wide",
        "--x2",
        "real",
        "--y",
        "c",
        "--bins",
        "4",
        "--bootstrap",
        "0",
        "--permutations",
        "0",
    ]
    assert main(["quantify", str(xor), *arguments]) == 0
    # x1 holds both bits and so tells y = a xor b; x2 = a alone says nothing.
    assert atoms(capsys.readouterr().out) == {"R": 0, "U1": 0.69315, "U2": 0, "S": 0}


def test_a_csv_says_what_its_npz_says(xor, tmp_path, capsys):
    with np.load(xor) as file:
        rows = [f"{a},{b}, {c},{r}" for a, b, c, r in zip(*(file[k] for k in ("a", "b", "c", "real")), strict=True)]
    path = tmp_path / "xor.csv"
    path.write_text("\n".join(["a,b,c,real", *rows]) + "\n")
    assert main(["quantify", str(path), *NAMES, *FEW]) == 0
    from_csv = capsys.readouterr().out
    assert main(["quantify", str(xor), *NAMES, *FEW]) == 0
    assert from_csv == capsys.readouterr().out
    assert main(["quantify", str(path), "--x1", "a,real", "--x2", "b", "--y", "c", "--bins", "4", *FEW]) == 0
    assert atoms(capsys.readouterr().out)["S"] == 0.69315


@pytest.mark.parametrize(
    ("text", "arguments", "found"),
    [
        ("a,b,c\n0,1,1\n", ["--x1", "a", "--x2", "z", "--y", "c"], "has no column 'z'; it has: a, b, c"),
        ("a,b,c\n0,,1\n1,1,1\n", NAMES, "column 'b' has 1 empty cells"),
        ("a,b,c\n0,1\n", NAMES, "row 1 has 2 cells, the header 3"),
        ("a,b,c\n0,red,1\n", ["--x1", "a,b", "--x2", "b", "--y", "c"], "columns b hold words"),
        ("a,b,c\n0,1,0.5\n", NAMES, "are for labels, and y is continuous"),
        ("a,b,c\n0,nan,1\n1,2.5,0\n", NAMES, "x2 has 1 NaN"),
        ("a,b,c\n", NAMES, "no samples"),
        ("", NAMES, "has no column 'a'"),
    ],
)
def test_a_bad_csv_is_refused_without_a_traceback(text, arguments, found, tmp_path, capsys):
    path = tmp_path / "bad.csv"
    path.write_text(text)
    assert main(["quantify", str(path), *arguments, *FEW]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("pidjax: ")
    assert found in err


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["--x1", "a", "--x2", "b", "--y", "label"], "has no array 'label'; it has: a, b, c, wide, real"),
        ([*NAMES, "--bins", "0"], "bins is 0; expected at least 1"),
        (["--x1", "wide", "--x2", "b", "--y", "c", "--discretise", "none"], 'discretise="none"'),
        ([*NAMES, "--json", "no_such_folder/out.json"], "there is no such folder"),
        ([*NAMES, "--per-sample", "no_such_folder/out.csv"], "there is no such folder"),
        ([*NAMES, "--plot-samples", "no_such_folder/out.png"], "there is no such folder"),
        ([*NAMES, "--groups", "real"], "groups has dtype float64"),
    ],
)
def test_bad_arguments_are_refused_without_a_traceback(xor, arguments, found, capsys):
    assert main(["quantify", str(xor), *arguments]) == 2
    assert found in capsys.readouterr().err


def test_files_that_are_not_data_are_refused(tmp_path, capsys):
    pickled, broken, text = (tmp_path / name for name in ("pickled.npz", "broken.npz", "data.txt"))
    np.savez(pickled, a=np.array([None]), b=np.zeros(1), c=np.zeros(1))
    broken.write_bytes(b"PK\x03\x04 not a zip")
    text.write_text("a b c")
    for path in (pickled, broken, text, tmp_path / "absent.npz"):
        assert main(["quantify", str(path), *NAMES]) == 2
        assert capsys.readouterr().err.startswith("pidjax: ")


def test_extras_that_are_missing_are_named_before_the_work(xor, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    assert main(["demo"]) == 2
    assert "pip install pidjax[examples]" in capsys.readouterr().err
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for option in ("--plot", "--plot-samples"):
        assert main(["quantify", str(xor), *NAMES, option, "out.png"]) == 2
        assert f"{option} needs Matplotlib, which is an extra: pip install pidjax[plot]" in capsys.readouterr().err


def test_the_demo_decomposes_digits_and_says_how_to_read_it(capsys):
    pytest.importorskip("sklearn")
    assert main(["demo", "--bins", "4", "--bootstrap", "0", "--permutations", "0"]) == 0
    out, _ = capsys.readouterr()
    assert "1797 samples" in out
    assert "How to read it" in out
    assert min(atoms(out).values()) >= 0


def test_help_teaches():
    found = subprocess.run(
        [sys.executable, "-m", "pidjax", "--help"], capture_output=True, text=True, check=True
    ).stdout
    for word in ("redundancy", "unique", "synergy", "pidjax demo", "pidjax quantify data.npz"):
        assert word in found
    assert max(map(len, found.splitlines())) <= 110


@pytest.mark.skipif("PIDJAX_DATA" not in os.environ, reason="set PIDJAX_DATA to the folder of the data sets")
def test_emotion_ratings_are_decomposed_as_published(tmp_path, capsys):
    with np.load(os.path.join(os.environ["PIDJAX_DATA"], "crema_d_ratings.npz")) as file:
        votes, emotion = file["votes"].argmax(2), file["intended_emotion"]
    path = tmp_path / "crema_d.npz"
    np.savez(path, voice=votes[:, 0], face=votes[:, 1], emotion=emotion)
    arguments = [
        "--x1",
        "voice",
        "--x2",
        "face",
        "--y",
        "emotion",
        "--bits",
        "--bootstrap",
        "0",
        "--permutations",
        "0",
    ]
    assert main(["quantify", str(path), *arguments]) == 0
    # BROJA_2PID with ECOS, bits, printed to five digits.
    expected = {"R": 0.57634, "U1": 0.02302, "U2": 0.71426, "S": 0.15666}
    assert atoms(capsys.readouterr().out) == pytest.approx(expected, abs=1e-5)


def test_csv_identifiers_that_only_look_like_numbers_stay_apart():
    from pidjax.__main__ import _typed

    assert _typed(["1", "-20", "0"]).dtype == np.int64
    assert _typed(["1.5", "2"]).dtype == np.float64
    for names in (["1", "001"], ["10", "1_0"], ["12345678901234567890", "12345678901234567891"], ["a", "1"]):
        assert np.unique(_typed(names)).size == 2
        assert _typed(names).dtype.kind == "U"
