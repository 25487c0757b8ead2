"""`ponder score` as a command."""

import json

import pytest

from ponder.cli import main

REWARDS = """
from dataclasses import dataclass
from ponder import Component, RewardConfig, hookimpl


@dataclass(frozen=True, kw_only=True)
class LongConfig(RewardConfig):
    sign: float = 1.0


class Long:
    def __init__(self, config):
        self.sign = config.sign

    def __call__(self, example, completion):
        return self.sign * len(completion.text)


@hookimpl
def ponder_rewards():
    yield Component("long", LongConfig, Long)
"""


@pytest.fixture
def score(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ponder.plugins._entry_points", list)
    (tmp_path / "rewards.py").write_text(REWARDS)
    rows = [{"problem": n // 4, "prompt": f"{n // 4}?", "completion": "x" * (n + 1), "reward": n + 1} for n in range(8)]
    (tmp_path / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def run(*words):
        code = main(["score", "samples.jsonl", *words, "--plugin", "rewards.py"])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


def test_installed_rewards_are_compared_with_the_scores_that_were_kept(score):
    code, out, _ = score("--rewards", "long", "--json")
    found = json.loads(out)
    assert code == 0 and found["rollouts"] == 8
    assert found["turns"]["turned"] == []
    assert found["distributions"][0]["mean"] == 4.5


def test_a_table_names_rewards_and_what_they_go_with(score):
    code, out, _ = score("--rewards", "long")
    assert code == 0
    assert "0 of 8 advantages" in out and "characters" in out and "+1.00" in out


def test_a_page_is_written(score, tmp_path):
    code, _, err = score("--rewards", "long", "--html", "lab.html")
    assert code == 0 and "page: lab.html" in err
    assert "How the scores are spread" in (tmp_path / "lab.html").read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--rewards", "lon"), "did you mean 'long'"),
        (("--rewards", "nowhere.yaml"), "nowhere.yaml"),
        (("--rewards", "long", "--html", "no/such/lab.html"), "lab.html"),
    ],
)
def test_what_is_wrong_is_said_without_a_traceback(score, words, said):
    code, _, err = score(*words)
    assert code == 2 and said in err and "Traceback" not in err
