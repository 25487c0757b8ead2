"""Reading what a model wrote: its reasoning, its answer, the language of its words, its second thoughts.

Completions are untrusted: every function takes any string, never raises on one, and needs time linear in its length.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal, TypeAlias

from ponder.types import Example, Prompt

Language: TypeAlias = Literal["en", "zh"]
LanguageChoice: TypeAlias = Literal["en", "zh", "question"]
"""What options offer: a language, or that of each question."""
FormatStyle: TypeAlias = Literal["r1_zero", "r1"]
"""`<think>…</think> <answer>…</answer>` (R1-Zero), or `<think>…</think>` and a summary (R1 from its cold start on)."""

THINK_OPEN: Final = "<think>"
THINK_CLOSE: Final = "</think>"
ANSWER_OPEN: Final = "<answer>"
ANSWER_CLOSE: Final = "</answer>"
TAGS: Final = (THINK_OPEN, THINK_CLOSE, ANSWER_OPEN, ANSWER_CLOSE)

R1_ZERO_TEMPLATE: Final = (
    "A conversation between User and Assistant. The user asks a question, and the Assistant solves it. "
    "The assistant first thinks about the reasoning process in the mind and then provides the user with the answer. "
    "The reasoning process and answer are enclosed within <think> </think> and <answer> </answer> tags, respectively, "
    "i.e., <think> reasoning process here </think> <answer> answer here </answer>. "
    "User: {prompt} Assistant:"
)
"""The prompt of DeepSeek-R1-Zero (DeepSeek-R1, table 1). The question stands for `{prompt}` as it is, with its own full stop."""


@dataclass(frozen=True, slots=True)
class Response:
    """The two parts of a response that thinks before it answers."""

    reasoning: str | None
    """What stands between the think tags; None when there are none."""
    answer: str | None
    """What stands in the last answer tags, or else behind the reasoning; None when there is neither."""


def split_response(text: str) -> Response:
    """The reasoning and the answer of a response, each without surrounding whitespace.

    A `<think>` that the prompt held is understood: what stands before a lone `</think>` is reasoning. Reasoning that was
    cut off before its closing tag ends at `<answer>`, or with the text.
    """
    answer = _last_answer_block(text)
    if answer is None:
        answer = _after_reasoning(text) or None
    return Response(_reasoning(text), answer)


def readable_prompt(prompt: Prompt) -> str:
    """A prompt as people read it: text as it is, of a single message its content, of several each with its role."""
    if isinstance(prompt, str):
        return prompt
    if len(prompt) == 1:
        return prompt[0]["content"]
    return "\n".join(f"{message['role']}: {message['content']}" for message in prompt)


def last_question(prompt: Prompt) -> str:
    """What a prompt asks: text as it is, of messages the last of the user's, and nothing where the user says nothing."""
    if isinstance(prompt, str):
        return prompt
    return next((message["content"] for message in reversed(prompt) if message["role"] == "user"), "")


def is_well_formed(text: str, style: FormatStyle = "r1_zero", tags: Sequence[str] = TAGS) -> bool:
    """Whether the text is reasoning and an answer in the given style and nothing else, both parts saying something.

    In R1-Zero's style each of the four tags stands once and in this order. In R1's (section 2.3.1) the think tags do, and
    what follows them is the summary, in no tags. Whitespace may stand around the parts. Reasoning says something when it holds
    a letter or a digit (dots, invisible characters and blanks are no thoughts), an answer when anything of it can be seen.
    """
    # At most five splits: what a longer row of tags looks like does not matter, and hostile text costs no more than this.
    pieces = tag_pattern(tuple(tags)).split(text, maxsplit=5)
    parts, found = [piece.strip() for piece in pieces[::2]], pieces[1::2]
    if found == [*tags] and style == "r1_zero":
        before, reasoning, between, answer, after = parts
        return says_something(reasoning) and is_visible(answer) and not (before or between or after)
    if found == [*tags[:2]] and style == "r1":
        before, reasoning, summary = parts
        return says_something(reasoning) and is_visible(summary) and not before
    return False


@lru_cache(maxsize=64)
def tag_pattern(tags: tuple[str, ...]) -> re.Pattern[str]:
    """Finds these tags, as its one group; of two that begin alike the longer one."""
    return re.compile(f"({'|'.join(re.escape(tag) for tag in sorted(tags, key=len, reverse=True))})")


def says_something(text: str) -> bool:
    """Whether the text holds a letter or a digit."""
    return _LETTER_OR_DIGIT.search(text) is not None


def is_visible(text: str) -> bool:
    """Whether anything of the text would be seen when it is printed."""
    return _INVISIBLE.fullmatch(text) is None


def r1_response(reasoning: str, summary: str) -> str:
    """A response in R1's own format: the reasoning between think tags, then the summary."""
    return f"{THINK_OPEN}\n{reasoning}\n{THINK_CLOSE}\n\n{summary}"


def with_prefill(example: Example, text: str, *, is_prefilled: bool = False, tag: str = THINK_OPEN) -> str:
    """The response with the `<think>` that its prompt held in front, where the prompt visibly ends with one or is said to."""
    response = text.lstrip()
    if response.startswith(tag) or not (is_prefilled or _prompt_opens(example, tag)):
        return response
    return tag + response


def conclusion(text: str) -> str:
    """What follows the reasoning: the text behind the last `</think>`, or all of it where nothing can be seen there."""
    after = _after_reasoning(text)
    return after if after and is_visible(after) else text


def extract_answer(text: str) -> str:
    r"""The part of a response that a verifier compares with the reference answer.

    Where something follows `</think>` it is looked for there alone. It is the last `<answer>…</answer>`; without one the last
    `\boxed{…}`, or what the words `final answer is … I hope it is correct` say after it (the few-shot format of Minerva,
    Lewkowycz et al. 2022, that many models and data keep to); without either the whole text. An answer in tags that holds a box
    is what the box holds. Surrounding whitespace is left out.
    """
    text = conclusion(text)
    block = _last_answer_block(text)
    if block is not None:
        return _last_box(block) or block
    stated = _last_statement(text)
    if stated is not None:
        return stated
    box = _last_box(text)
    if box is not None:
        return box
    return text.strip()


def language_share(text: str, language: Language) -> float | None:
    """The share of a language's words among all words, in [0, 1] (DeepSeek-R1, equation 7); None when there are no words.

    The paper leaves "word" open; here these rules hold. Tags, fenced or quoted code, mathematics between `$`, `\\(`, `\\[` or
    in an environment, LaTeX commands with their arguments (`\\text` and its like keep theirs), numbers, letters that touch a
    digit, function names (Latin letters with an opening bracket right after them) and single Latin letters, also joined by
    hyphens (variables), are no words; "a" and "I" are, where only a blank is between them and a Latin word. In an alphabet
    a word is a run of letters, inner apostrophes and hyphens included. Chinese is cut from the left: a common word of the
    list below, else two characters, or one where it is a listed one-character word or stands alone. A run of kana is a word
    of no language offered here, as are words of other scripts: they count in the denominator alone. Latin script is
    English, Chinese characters are Chinese.
    """
    counts = _word_counts(text)
    total = sum(counts.values())
    return counts[language] / total if total else None


def prose(text: str) -> str:
    """The text without tags, code, mathematics and LaTeX commands, each of them a space; see `language_share`."""
    kept = " ".join(_outside_blocks(text))
    for pattern in (_INLINE, _COMMAND, _TAG):
        kept = pattern.sub(" ", kept)
    return kept


def chinese_words(text: str) -> list[str]:
    """The text's Chinese characters cut into words by the rule of `language_share`."""
    return _CHINESE_WORD.findall(text)


def question_language(example: Example) -> Language:
    """The language a question is asked in: `metadata["language"]` where the task gives one, else that of most of its words."""
    given = example.metadata.get("language")
    if given == "en" or given == "zh":
        return given
    share = language_share(last_question(example.prompt), "zh")
    return "zh" if share is not None and share > 0.5 else "en"


def resolve_language(choice: LanguageChoice, example: Example) -> Language:
    """The language meant by an option: itself, or that of the example's question."""
    return question_language(example) if choice == "question" else choice


def mixes_languages(text: str, *, tolerance: float = 0.0) -> bool:
    """Whether more than `tolerance` (a share of all words) are in other languages than the text's most frequent one."""
    counts = _word_counts(text).values()
    total = sum(counts)
    return total > 0 and total - max(counts) > tolerance * total


def reflective_words(text: str) -> int:
    """How often the text uses one of DeepSeek-R1's ten reflective words, or a Chinese counterpart.

    English words count whole and in any case (wait, mistake, however, but, retry, error, verify, wrong, evaluate, check).
    """
    return len(_REFLECTIVE.findall(text))


def _prompt_opens(example: Example, tag: str) -> bool:
    prompt = example.prompt
    if isinstance(prompt, str):
        return prompt.rstrip().endswith(tag)
    return bool(prompt) and prompt[-1]["role"] == "assistant" and prompt[-1]["content"].rstrip().endswith(tag)


def _reasoning(text: str) -> str | None:
    opened, closed = text.find(THINK_OPEN), text.find(THINK_CLOSE)
    if opened < 0 or 0 <= closed < opened:
        return text[:closed].strip() if closed >= 0 else None
    start = opened + len(THINK_OPEN)
    if closed < 0:
        closed = text.find(ANSWER_OPEN, start)
    return (text[start:] if closed < 0 else text[start:closed]).strip()


def _after_reasoning(text: str) -> str | None:
    _, tag, rest = text.rpartition(THINK_CLOSE)
    return rest.strip() if tag else None


def _last_answer_block(text: str) -> str | None:
    block, opened = None, -1
    for tag in _ANSWER_TAG.finditer(text):
        if tag.group() == ANSWER_OPEN:
            opened = tag.end()
        elif opened >= 0:
            block, opened = text[opened : tag.start()], -1
    return None if block is None else block.strip()


def _last_statement(text: str) -> str | None:
    """What `The final answer is …. I hope it is correct.` says, unless a box stands in it or after it."""
    _, found, rest = text.rpartition("final answer is")
    statement, hope, _ = rest.partition("I hope it is correct")
    if not (found and hope) or _last_box(rest) is not None:
        return None
    return statement.lstrip(" :\n").rstrip(" .\n") or None


def _last_box(text: str) -> str | None:
    r"""The contents of the `\boxed{…}` that starts last among those whose braces close."""
    open_braces: list[int] = []
    start, end = -1, -1
    for token in _BRACE.finditer(text):
        symbol = token.group()
        if symbol == "}" and open_braces:
            opened = open_braces.pop()
            if opened > start:
                start, end = opened, token.start()
        elif symbol.endswith("{") and symbol != "\\{":
            open_braces.append(token.end() if symbol != "{" else -1)
    return text[start:end].strip() if start >= 0 else None


def _word_counts(text: str) -> dict[str, int]:
    readable = prose(text)
    found = {name: pattern.findall(readable) for name, pattern in _WORDS.items()}
    found["en"] = [word for word in found["en"] if not _JOINED_VARIABLES.fullmatch(word)]
    return {name: len(words) for name, words in found.items()}


def _outside_blocks(text: str) -> Iterator[str]:
    """The pieces of the text outside code blocks and displayed mathematics; a block that never closes is no block."""
    position, searched, unclosed = 0, 0, set[str]()
    while opening := _BLOCK_OPEN.search(text, searched):
        kind = opening.lastgroup or ""
        closing = None if kind in unclosed else _BLOCK_CLOSE[kind].search(text, opening.end())
        searched = closing.end() if closing else opening.end()
        if closing:
            yield text[position : opening.start()]
            position = searched
        else:
            # Remembered, so that a million openings do not search the rest of the text a million times.
            unclosed.add(kind)
    yield text[position:]


# The fillers of the Korean alphabet are letters that nobody can see.
_LETTER_OR_DIGIT = re.compile(r"[^\W_\u115f\u1160\u3164\uffa0]")
# Blanks, control and format characters, fillers, marks without a letter to stand on, and halves of surrogate pairs.
_INVISIBLE = re.compile(
    r"[\s\x00-\x1f\x7f-\x9f\u00ad\u0300-\u036f\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e"
    r"\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\ud800-\udfff\U000e0000-\U000e0fff]*"
)
_ANSWER_TAG = re.compile(r"</?answer>")
_BRACE = re.compile(r"\\boxed ?\{|\\.|[{}]", re.DOTALL)

_BLOCK_OPEN = re.compile(
    r"(?P<fence>```)|(?P<display>\$\$)|(?P<inline>\\\()|(?P<bracket>\\\[)|(?P<environment>\\begin\{[A-Za-z]{1,20}\*?\})"
)
_BLOCK_CLOSE = {
    "fence": re.compile(r"```"),
    "display": re.compile(r"\$\$"),
    "inline": re.compile(r"\\\)"),
    "bracket": re.compile(r"\\\]"),
    "environment": re.compile(r"\\end\{[A-Za-z]{1,20}\*?\}"),
}
# A dollar sign opens mathematics only before a non-space and closes it only after one, so that prices are not formulas.
_INLINE = re.compile(r"`[^`\n]*`|\$(?=\S)[^$\n]*(?<=\S)\$(?!\d)")
_COMMAND = re.compile(r"\\(?:text[a-z]{0,6}|emph|mbox)(?![A-Za-z])|\\[A-Za-z]+\*?(?:\{[^{}]*\})*")
_TAG = re.compile(r"</?[A-Za-z][A-Za-z0-9_-]{0,63} ?/?>|<[|｜][^<>|｜]{1,64}[|｜]>")

_LATIN = "A-Za-zªºÀ-ÖØ-öø-ɏḀ-ỿ"
# Written as escapes: some editors replace compatibility ideographs by others, and the ranges would change.
_HAN = "\u3005\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"
_KANA = "぀-ヿㇰ-ㇿｦ-ﾟ"
_ENGLISH_WORD = re.compile(
    rf"(?<![^\W{_HAN}{_KANA}])(?:(?<=[{_LATIN}]{{2}}\s)[AaI]|[AaI](?=\s[{_LATIN}]{{2}})"
    rf"|[{_LATIN}]+(?:['’-][{_LATIN}]+)+|[{_LATIN}]{{2,}})(?!\(|[^\W{_HAN}{_KANA}])"
)
_JOINED_VARIABLES = re.compile(rf"[{_LATIN}](?:-[{_LATIN}])+")
_OTHER_WORD = re.compile(rf"[{_KANA}]+|(?:(?![{_LATIN}{_HAN}{_KANA}])[^\W\d_])+")
_COMMON_CHINESE_WORDS = """
    一下 一个 一些 一样 一次 一直 一起 下面 不会 不对 不是 不能 不过 与否 为了 为什么 也就是说 也是 于是 今天 他们 以及 以后 以前
    但是 你们 使得 例如 假设 其中 其他 再次 几个 分别 加上 即可 却是 只是 只有 只要 可以 可是 可能 各个 同时 同样 后来 因为 因此
    大家 她们 如何 如果 它们 就是 已经 并且 应该 开始 当然 得到 怎么 怎样 我们 或者 所以 所有 接下来 换句话说 方程 是否 时候 显然
    最后 有些 有时 有的 未知数 来说 然后 然而 现在 由于 由此可见 的话 直到 真的 知道 第一 第三 第二 等于 等等 等一下 结果 综上所述
    而且 而是 自己 若是 要求 认为 计算 让我们 许多 问题 还是 还有 这个 这些 这样 这里 这是 那么 那个 那些 那样 那里 都是 重新 错误
    除以 需要 首先 验证 三角形 四边形 正方形 长方形 平行四边形
"""
_ONE_CHARACTER_WORDS = "我你您他她它们的地得了着过是有在和与或及而但也都就才又再还不没很太更最这那哪谁把被让给对向从到由以为于之其若则因故且并个吗呢吧啊"
_CHINESE_CUTS = (
    *sorted(_COMMON_CHINESE_WORDS.split(), key=len, reverse=True),
    f"[{_ONE_CHARACTER_WORDS}]",
    f"[{_HAN}](?:(?![{_ONE_CHARACTER_WORDS}])[{_HAN}])?",
)
# The look-ahead passes over other text several times as fast as the alternatives would.
_CHINESE_WORD = re.compile(rf"(?=[{_HAN}])(?:{'|'.join(_CHINESE_CUTS)})")

_WORDS = {"en": _ENGLISH_WORD, "zh": _CHINESE_WORD, "other": _OTHER_WORD}

_REFLECTIVE = re.compile(
    r"(?<![A-Za-z0-9_])(?:wait|mistake|however|but|retry|error|verify|wrong|evaluate|check)(?![A-Za-z0-9_])"
    r"|等一下|等等|失误|然而|不过|但是|但|重试|再试|错误|验证|不对|错了|评估|检查|检验",
    re.IGNORECASE,
)
