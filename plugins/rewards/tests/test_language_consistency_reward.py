import time
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ponder import Completion, Example
from ponder_rewards import LanguageConsistencyConfig
from ponder_rewards.language_consistency import LanguageConsistency
from ponder_rewards.languages import SCRIPTS, Code
from ponder_rewards.words import language_counts, share_of


def score(text: str, language: Literal["en", "zh"] = "en") -> float | None:
    return LanguageConsistency(LanguageConsistencyConfig(language=language))(Example("q", "4"), Completion(text))


@pytest.mark.parametrize(
    ("reasoning", "language", "share"),
    [
        ("word " * 20, "en", 1.0),
        ("word " * 18 + "因此 答案", "en", 0.9),
        ("word " * 5 + "思考" * 15, "en", 0.25),
        ("思考" * 30 + " word" * 10, "zh", 0.75),
        ("思考 " * 30, "en", 0.0),
    ],
)
def test_the_score_is_the_share_of_the_language_in_the_reasoning(
    reasoning: str, language: Literal["en", "zh"], share: float
) -> None:
    assert score(f"<think>{reasoning}</think> <answer>所以答案是</answer>", language) == share


def test_reasoning_that_was_cut_off_counts() -> None:
    assert score("<think>four words are here") == 1.0


def test_a_response_without_tags_is_reasoning_as_a_whole() -> None:
    assert score("two words 思考 我们") == 0.5


@pytest.mark.parametrize("text", ["", "<think>1 + 1 = 2</think> <answer>two</answer>", "<think>$x$</think>"])
def test_reasoning_without_words_abstains(text: str) -> None:
    assert score(text) is None


def test_all_of_a_response_may_be_read() -> None:
    completion = Completion("<think> step by step </think> 答案是 四")
    assert LanguageConsistency(LanguageConsistencyConfig())(Example("q"), completion) == 1.0
    whole = LanguageConsistency(LanguageConsistencyConfig(of="response"))(Example("q"), completion)
    assert whole is not None
    assert 0 < whole < 1


def test_the_language_may_be_that_of_the_question() -> None:
    answers = LanguageConsistency(LanguageConsistencyConfig(language="question"))
    completion = Completion("<think> step by step </think> 四")
    assert answers(Example("What is it?"), completion) == 1.0
    assert answers(Example("这是什么？"), completion) == 0.0


ENGLISH = (
    "First I add the two numbers, then I check that the sum is right. Wait, let me verify the result again: the total is four, "
    "so the derivative of the polynomial must vanish, and by the theorem of Euler the answer is even."
)
TEXTS: dict[Code, str] = {
    "en": ENGLISH,
    "de": "Zuerst addiere ich die beiden Zahlen, dann prüfe ich, ob die Summe stimmt. Moment, ich überprüfe das Ergebnis noch einmal.",
    "fr": "D'abord j'additionne les deux nombres, puis je vérifie que la somme est correcte. Attendez, je vérifie encore le résultat.",
    "es": "Primero sumo los dos números y luego compruebo que la suma es correcta. Espera, voy a verificar el resultado otra vez.",
    "it": "Prima sommo i due numeri, poi controllo che la somma sia corretta. Aspetta, verifico di nuovo il risultato.",
    "zh": "首先把两个数相加，然后检查结果是否正确。等一下，让我再验证一次：答案是四。",
    "ja": "まず二つの数を足します。次に、合計が正しいかどうかを確認します。計算結果。答えは四です。",
    "ko": "먼저 두 수를 더합니다. 그다음 합이 맞는지 확인합니다. 답은 넷입니다.",
    "ar": "أولاً أجمع العددين ثم أتحقق من أن المجموع صحيح. انتظر، دعني أتحقق من النتيجة مرة أخرى.",
    "fa": "ابتدا دو عدد را با هم جمع می‌کنم و سپس بررسی می‌کنم که آیا حاصل جمع درست است یا نه.",
    "ru": "Сначала я складываю два числа, затем проверяю, верна ли сумма. Подождите, я проверю результат ещё раз.",
    "el": "Πρώτα προσθέτω τους δύο αριθμούς και μετά ελέγχω το άθροισμα.",
    "he": "קודם אני מחבר את שני המספרים ואז בודק את הסכום.",
    "hi": "पहले मैं दोनों संख्याओं को जोड़ता हूँ, फिर योग की जाँच करता हूँ।",
    "th": "ก่อนอื่นฉันบวกเลขสองตัวแล้วตรวจสอบผลรวม",
}
NOISE = " 12 + 3.5 = x, $\\text{sei } x$, `for i in range(3)`, \\frac{a}{b}, n2, <answer> \\[ y^2 \\]"


# Italian is told from English, German, Spanish and French only where it is asked for.
ALIKE: list[set[str]] = [{"it"}, {"it", "en"}, {"it", "fr"}, {"it", "es"}, {"it", "de"}]


@pytest.mark.parametrize("language", TEXTS)
def test_a_text_in_one_language_is_all_in_it_and_in_no_other(language: Code) -> None:
    shares = {code: share_of(text + NOISE, language) for code, text in TEXTS.items()}
    assert shares.pop(language) == pytest.approx(1.0, abs=0.02)
    assert {code for code, share in shares.items() if (share or 0) > 0.15 and {code, language} not in ALIKE} == set()


def test_languages_that_are_asked_for_are_told_apart() -> None:
    assert share_of(TEXTS["it"], "en", ["it"]) == 0.0
    assert share_of(TEXTS["it"], "it") == 1.0


@pytest.mark.parametrize(
    ("english", "other", "share"),
    [
        ("we add up all of the numbers and check the sum again so that nothing of it is wrong", "因此 答案", 0.9),
        ("we add up all of the numbers and check the sum again so that nothing of it is wrong", "das Ergebnis", 0.9),
        ("what do we think of all these things", "因此我们认为答案是正确的", 0.5),
        ("we think about these things and check them all", "ich denke über diese Dinge nach und überprüfe alles", 0.5),
    ],
)
def test_a_mixed_text_is_counted_word_by_word(english: str, other: str, share: float) -> None:
    assert share_of(f"{english} {other}", "en") == pytest.approx(share, abs=0.06)
    assert share_of(f"{english}. {other}. {english}", "en") == pytest.approx(2 * share / (1 + share), abs=0.06)


def test_the_names_of_mathematicians_are_no_foreign_words() -> None:
    text = "By the theorem that Möbius had proved, and which Poincaré used later on, we see at once that Erdős was right about this."
    assert share_of(text, "en") == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Tariq and Fatima live in Casablanca.", "en"),
        ("Müller has 5 apples.", "en"),
        ("François buys 12 croissants and gives 4 to Marie.", "en"),
        ("Herr Müller and Frau Schröder went to Köln to buy bread.", "en"),
        ("Ludwig van Beethoven and Charles de Gaulle were here.", "en"),
        ("Jack und Mary kaufen Brot.", "de"),
        ("Müller achète du pain.", "fr"),
        ("Alice 有 5 个苹果", "zh"),
    ],
)
def test_names_are_no_foreign_words(text: str, language: Code) -> None:
    assert share_of(text, language) == 1.0


@pytest.mark.parametrize(
    "text", ["We need to find the déjà vu of the naïve café.", "The fiancée left her résumé at the café."]
)
def test_loanwords_are_no_foreign_words(text: str) -> None:
    assert share_of(text, "en") == 1.0


@pytest.mark.parametrize("language", ["en", "de", "zh"])
def test_a_sentence_of_names_alone_is_left_out(language: Code) -> None:
    assert share_of("Tariq, Fatima. Casablanca!", language) is None


SHORT: dict[str, Code] = {
    "The sum is 7.": "en",
    "I think it is 5.": "en",
    "Then x is 5.": "en",
    "Die Summe ist 12.": "de",
    "Also ist x gleich 5.": "de",
    "La suma es 7.": "es",
    "Entonces x es 5.": "es",
    "La somme est 7.": "fr",
    "Il y a 3 pommes.": "fr",
}


@pytest.mark.parametrize("text", SHORT)
@pytest.mark.parametrize("language", ["en", "de", "es", "fr"])
def test_a_short_sentence_is_told_by_its_common_words(text: str, language: Code) -> None:
    assert share_of(text, language) == float(SHORT[text] == language)


@pytest.mark.parametrize(
    "text", ["Önce iki sayıyı topluyorum, sonra daha çok var.", "Ik tel het op en daarna is het klaar."]
)
def test_a_language_that_is_not_in_question_is_told_by_its_common_words(text: str) -> None:
    assert share_of(text, "en") == 0.0


@pytest.mark.parametrize("text", ["a^2+b^2=c^2", "I = 5", "gcd(12, 8) = 4", "x-a = y"])
def test_formulas_without_words_abstain(text: str) -> None:
    assert score(text, "zh") is None


@pytest.mark.parametrize("text", ["所以 a=3", "因此 a + b = c", "计算 sin(x)", "点 A 在圆上", "因为 a-b = 4"])
def test_variables_and_function_names_in_chinese_are_not_english(text: str) -> None:
    assert score(text, "zh") == 1.0


def test_a_and_i_are_words_beside_words() -> None:
    assert language_counts("I see a cat", "en") == {"en": 4}


def test_chinese_characters_are_japanese_beside_kana() -> None:
    assert language_counts("計算結果を確認します。", "en").keys() == {"ja"}
    assert language_counts("计算结果正确，我们确认一下这个答案。", "en").keys() == {"zh"}
    assert language_counts("これは正しいです。計算結果。", "en").keys() == {"ja"}


def test_a_word_that_is_repeated_is_not_ever_more_evidence() -> None:
    assert share_of("word " * 20, "en") == 1.0


@pytest.mark.parametrize("unit", ["ab cd ", "我们思考", "كلمة ", "a-", "ab(", "Ab. ", "é"])
def test_half_a_million_characters_are_read_once(unit: str) -> None:
    text = unit * (500_000 // len(unit))
    started = time.process_time()
    share_of(text, "en")
    assert time.process_time() - started < 3.0  # a quadratic reading takes hours


@given(st.text(max_size=80), st.sampled_from(list(SCRIPTS)))
@settings(max_examples=200)
def test_any_text_has_a_share_or_no_words(text: str, language: Code) -> None:
    share = share_of(text, language)
    counts = language_counts(text, language)
    assert (share is None) == (counts.total() == 0)
    assert share is None or share == pytest.approx(counts[language] / counts.total())


@pytest.mark.parametrize(
    ("example", "text"),
    [
        (Example("Was ist die Summe der beiden Zahlen?"), TEXTS["de"]),
        (Example([{"role": "user", "content": "二つの数の合計は何ですか？"}]), TEXTS["ja"]),
        (Example("1 + 1", metadata={"language": "ar"}), TEXTS["ar"]),
        (Example("1 + 1", metadata={"language": "Klingon"}), TEXTS["en"]),
        (Example(""), TEXTS["en"]),
    ],
)
def test_the_language_of_any_question_is_found(example: Example, text: str) -> None:
    answers = LanguageConsistency(LanguageConsistencyConfig(language="question"))
    share = answers(example, Completion(f"<think>{text}</think> 4"))
    assert share is not None
    assert share > 0.95


def test_languages_of_another_script_are_not_told_from() -> None:
    with pytest.raises(ValueError, match="told_from: ru is not written in the script of en"):
        LanguageConsistencyConfig(told_from=["de", "ru"])
