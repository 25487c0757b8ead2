"""Training examples that an evaluation asks, too."""

import json
import logging
import random
import time

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ponder import Example
from ponder.errors import InputError
from ponder.plugins import load_registry
from ponder.recipe import load_recipe
from ponder_tasks import DecontaminatedConfig, ReasoningGymConfig
from ponder_tasks.decontamination import Decontaminated
from ponder_tasks.gym import ReasoningGym
from ponder_tasks.tokens import tokens

LONG = "If a train leaves the station at noon and another one follows it half an hour later, when do they meet?"
OTHER = "How many sheep graze on a hill when twelve of them are white and the rest of them are black and hungry?"
ENGLISH = "State the final answer to the following arithmetic problem: {} ="
CHINESE = "请给出下面算式的最终答案： {} ="
TERMS = {"min_terms": 2, "max_terms": 4, "min_digits": 1, "max_digits": 1}


class Listed:
    def __init__(self, examples):
        self._examples = examples

    def examples(self):
        return (example if isinstance(example, Example) else Example(example) for example in self._examples)


def task(train, *evaluations, **options):
    tasks = {f"exam{number}": Listed(exam) for number, exam in enumerate(evaluations)}
    config = DecontaminatedConfig(task="train", against=list(tasks), **options)
    return Decontaminated(config, {**tasks, "train": Listed(train)}.__getitem__)


def kept(train, *evaluations, **options):
    return [example.prompt for example in task(train, *evaluations, **options).examples()]


def test_ten_words_in_a_row_are_too_many_and_nine_are_not():
    ten = " ".join(LONG.split()[3:13])
    nine = " ".join(LONG.split()[3:12])
    assert kept([f"We saw: {ten}!", f"We saw: {nine}!"], [LONG]) == [f"We saw: {nine}!"]
    assert kept([f"We saw: {nine}!", "free"], [LONG], ngram=9) == ["free"]


def test_case_punctuation_and_spaces_make_no_difference():
    assert kept([LONG.upper().replace(" ", "\n").replace(",", ";"), "free"], [LONG]) == ["free"]


def test_chinese_is_compared_by_its_characters():
    question = "小明有三个苹果，妈妈又给了他五个苹果，他一共有几个苹果？"
    assert kept(["题目：妈妈又给了他五个苹果他一", "妈妈又给了他五个"], [question]) == ["妈妈又给了他五个"]


@pytest.mark.parametrize(
    "question",
    [
        "たかしくんはりんごをみっつもっています。いくつたべましたか。",
        "มานะมีแอปเปิ้ลสามลูก แม่ให้เขาอีกห้าลูก",
        "ຂ້ອຍມີໝາກໂປມສາມໜ່ວຍແລະກິນໜຶ່ງໜ່ວຍ",
    ],
)
def test_other_scripts_without_spaces_are_compared_by_their_characters(question):
    part = question[4:18]
    assert kept([f"x {part} y", question[4:9]], [question]) == [question[4:9]]


def rows_file(folder, name):
    path = folder / name
    rows = [
        f"On day {day} a farmer counts {day * day + 3} sheep on the hill and sells {day} of them; how many are left?"
        for day in range(8)
    ]
    if name.endswith(".jsonl"):
        path.write_text("".join(json.dumps({"prompt": row}) + "\n" for row in rows))
    else:
        pyarrow.parquet.write_table(pyarrow.table({"prompt": rows}), path)
    return path


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("jsonl", {"path": "rows.jsonl"}),
        ("dataset", {"path": "rows.parquet", "answer": ""}),
        ("reasoning_gym", {"dataset": "chain_sum", "size": 20}),
        ("mini_web", {"documents": 20}),
        ("mini_instructions", {"size": 20}),
        ("mini_preferences", {"size": 20}),
    ],
)
def test_problems_of_any_task_that_an_evaluation_asks_are_left_out(tmp_path, kind, options):
    registry = load_registry()
    component = registry.find("task", kind)
    given = {**options, **({"path": rows_file(tmp_path, options["path"])} if "path" in options else {})}
    examples = list(component.build(component.config(**given)).examples())
    asked = [example for example in examples[:2] if example.prompt]
    left = kept(examples, asked, ignore_common=False)
    assert not [example.prompt for example in asked if example.prompt in left]


def test_a_short_problem_counts_where_it_stands_whole():
    train = [
        "What is 4 - 1 + 7?",
        "What is 4 - 1 + 7 - 2?",
        "What is 3 + 4 - 1 + 7?",
        "Q: 2\n4 - 1 + 7 = 10",
        "4 - 1 + 6",
    ]
    assert kept(train, ["4 - 1 + 7 ="]) == ["What is 4 - 1 + 7 - 2?", "What is 3 + 4 - 1 + 7?", "4 - 1 + 6"]


def test_the_questions_of_messages_are_compared_without_what_the_system_says():
    system = {"role": "system", "content": OTHER}
    exam = [Example([system, {"role": "user", "content": LONG}])]
    assert kept([OTHER, LONG], exam) == [OTHER]


def test_a_response_is_searched_for_whole_n_grams_but_steps_of_working_are_no_problem():
    train = [
        Example("a", None, {"response": f"<think>{LONG}</think>"}),
        Example("b", None, {"response": "4 - 1 + 7 = 3 + 7 = 10"}),
    ]
    assert kept(train, [LONG, "3 + 7 ="]) == ["b"]


def test_wordings_that_problems_have_in_common_are_no_contamination():
    exam = [wording.format(f"{n} + {n + 1} - 2") for n in range(20) for wording in (ENGLISH, CHINESE)]
    train = [
        ENGLISH.format("5 - 3 + 1"),
        CHINESE.format("5 - 3 + 1"),
        CHINESE.format("3 + 4 - 2"),
        "What is 7 + 8 - 2?",
    ]
    assert kept(train, exam) == train[:2]


def test_no_problem_of_the_same_generator_gets_through_and_no_other_is_taken_for_one():
    wordings = {"en": "{question}", "zh": CHINESE.replace("{}", "{expression}")}
    shared = {"dataset": "chain_sum", "options": TERMS, "wordings": wordings}
    exam = list(ReasoningGym(ReasoningGymConfig(**shared, size=100, seed=9, split="held_out")).examples())
    train = list(ReasoningGym(ReasoningGymConfig(**shared, size=1500)).examples())
    asked = {example.metadata["gym"]["expression"] for example in exam}
    contaminated = [example for example in train if example.metadata["gym"]["expression"] in asked]
    assert contaminated
    assert kept(train, exam) == [example.prompt for example in train if example not in contaminated]


def test_problems_that_differ_in_single_words_count_whole():
    exam = [
        f"Tom has {n} apples and eats {n + 1} pears in the garden behind his old house. How many?" for n in range(20)
    ]
    train = [exam[3], exam[3].replace("3", "77"), "Tom has 3 apples."]
    assert kept(train, exam) == train[1:]


def test_common_wording_may_count_and_then_removes_everything_which_is_an_error_that_names_it():
    exam = [ENGLISH.format(f"{n} + {n + 1}") + " Answer with one number and nothing else, please." for n in range(20)]
    train = [ENGLISH.format(f"{n} - 1") + " Answer with one number and nothing else, please." for n in range(30)]
    with pytest.raises(InputError) as failure:
        kept(train, exam, ignore_common=False, ngram=7)
    message = str(failure.value)
    assert (
        "all 30 of 30 examples of task 'train' share text with exam0, 30 of them 'state the final answer to the following'"
        in message
    )
    assert "nothing is left" in message and "set ignore_common" in message
    assert len(kept(train, exam, ngram=7)) == 30


EXAMPLE = (
    "Here is how: 1 69 13 1 7 11 43 59 61 12 3 40 gives 1 1 3 7 11 12 13 40 43 59 61 69. Now sort these numbers: {}"
)


def numbers(first):
    return " ".join(str((first * 37 + place * place * 11 + place) % 97) for place in range(12))


def test_a_worked_example_that_problems_have_in_common_is_no_contamination_and_a_copy_is_in_any_wording():
    exam = [EXAMPLE.format(numbers(first)) for first in range(8)]
    train = [EXAMPLE.format(numbers(20)), exam[2], f"Bring this into order, please: {numbers(5)}"]
    assert kept(train, exam) == train[:1]


def test_a_problem_whose_own_numbers_begin_with_a_sign_is_found_in_itself():
    exam = [f"Please sort these numbers: -{n}, {n * 7}, {n + 2}" for n in range(8)]
    assert kept([*exam, "free"], exam) == ["free"]


def test_a_few_words_and_numbers_that_are_left_of_a_problem_are_no_contamination():
    exam = [f"Now you have {n} a {n + 1} blocks, combine them until no rule applies" for n in range(8)]
    assert kept(["There are 3 a 4 b", exam[3]], exam) == ["There are 3 a 4 b"]


def test_what_most_training_examples_say_is_no_contamination_by_a_small_evaluation():
    train = [EXAMPLE.format(numbers(first)) for first in range(20, 40)]
    exam = [EXAMPLE.format(numbers(1)), EXAMPLE.format(numbers(2))]
    assert kept([*train, exam[0], f"Sort {numbers(2)}"], exam) == train


def test_a_problem_copied_into_many_training_examples_is_found_in_all_of_them():
    copies = [f"Reader {number} asks: {LONG}" for number in range(30)]
    assert kept([*copies, *(f"free {number}" for number in range(40))], [LONG, OTHER])[0] == "free 0"


def story(day):
    return (
        f"The keeper of a market counts whatever is left at the end of each long day. On day {day} there are {day * 7 + 3} red "
        f"boxes beside {day * 5 + 1} blue ones, and {day + 2} of them are empty. How many are full?"
    )


RARE_EXAM = [*map(story, range(4)), *(f"free {n}" for n in range(60))]
RARE_TRAIN = [*map(story, range(30, 38)), *map(str, range(100))]


def test_a_template_that_is_rare_in_evaluation_and_training_is_no_contamination():
    assert kept([*RARE_TRAIN, RARE_EXAM[1]], RARE_EXAM) == RARE_TRAIN


def test_a_slightly_reworded_problem_is_found_however_often_it_was_copied_among_others_of_its_template():
    copy = RARE_EXAM[1].replace("How many are full", "Say how many hold something")
    assert kept([*RARE_TRAIN, *(f"Number {n}: {copy}" for n in range(30))], RARE_EXAM) == RARE_TRAIN


def grid(seed, of):
    rows = [random.Random(f"{seed} {row}").choices(of, k=8) for row in range(8)]
    return "\n".join(" ".join(row) for row in rows)


@pytest.mark.parametrize("of", ["01", "🟦🟥⬛", "#@_~", "000000001"])
def test_another_grid_of_the_same_symbols_is_no_contamination_and_a_copy_is_in_any_wording(of):
    exam = [f"Which cell of this grid is the odd one out?\n{grid(seed, of)}" for seed in range(8)]
    train = [f"Which cell of this grid is the odd one out?\n{grid(40, of)}", exam[3], f"Look!\n{grid(5, of)}"]
    assert kept(train, exam) == train[:1]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("किसान ने बारह", ["किसान", "ने", "बारह"]),
        ("naïve cafe\u0301", ["naïve", "cafe\u0301"]),
        ("ลูกแม่", ["ลู", "ก", "แ", "ม่"]),
        ("🟦🟦❤\ufe0f", ["🟦🟦", "❤"]),
        ("█ ░ # @ _ a_b", ["█", "░", "#", "@", "_", "a", "b"]),
    ],
)
def test_words_keep_their_marks_and_symbols_count(text, words):
    assert tokens(text) == words


def test_training_on_the_evaluation_itself_leaves_nothing():
    with pytest.raises(InputError, match=r"all 2 of 2 examples .* such as another split"):
        kept([LONG, OTHER], [LONG, OTHER])


def test_all_evaluations_count():
    assert kept([LONG, OTHER, "free"], [LONG], [OTHER]) == ["free"]


def test_an_evaluation_without_problems_is_named():
    with pytest.raises(InputError, match="task 'exam1' in `against` has no problems"):
        kept(["free"], [LONG], [])


def test_what_is_left_out_is_counted_and_told(caplog):
    removing = task([LONG, LONG, OTHER], [LONG])
    with caplog.at_level(logging.WARNING, "ponder"):
        assert len(list(removing.examples())) == 1
    assert removing.removed.total() == 2
    assert "2 of 3 examples of task 'train' share text with exam0, 2 of them 'if a train leaves" in caplog.text


def test_an_n_gram_has_at_least_one_word():
    with pytest.raises(ValueError, match="ngram must be at least 1"):
        DecontaminatedConfig(task="t", against=["e"], ngram=0)


def test_an_evaluation_that_others_are_cleaned_of_is_not_learnt_from(tmp_path):
    recipe = """
policies: {base: {type: deepseek, preset: tiny}}
tasks:
  pages: {type: mini_web, documents: 10}
  exam: {type: mini_instructions}
  clean: {type: decontaminated, task: pages, against: [exam]}
stages:
  pretrain: {type: pretrain, policy: base, task: clean, tokens: 1000}
  check: {type: evaluate, policy: pretrain, task: exam, rewards: [{type: mini_instructions}]}
"""
    path = tmp_path / "clean.yaml"
    path.write_text(recipe)
    assert load_recipe(path, (), load_registry()).tasks["clean"]
    path.write_text(recipe.replace("task: clean, tokens", "task: exam, tokens"))
    with pytest.raises(InputError, match="learns from task 'exam'"):
        load_recipe(path, (), load_registry())


@pytest.mark.parametrize("piece", ["a ", "1 + ", "算", "=", " ", "1", "-", "the same words again and again "])
def test_hostile_text_takes_linear_time(piece):
    text = piece * (100_000 // len(piece))
    started = time.process_time()
    try:
        kept([text, "free"], [text, "b " * 40])
    finally:
        assert time.process_time() - started < 10


@given(st.lists(st.text(max_size=40), min_size=1, max_size=5), st.booleans())
def test_any_problem_with_words_is_found_in_itself(problems, ignore_common):
    spoken = [problem for problem in problems if set(tokens(problem)) - {"="}]
    if spoken:
        assert kept([*spoken, "zzz yyy xxx"], spoken, ignore_common=ignore_common) == ["zzz yyy xxx"]
