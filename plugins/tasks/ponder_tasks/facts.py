"""What the small world knows: colours, capitals, animals, and how a few things are done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ponder.text import Language


@dataclass(frozen=True, slots=True)
class Fact:
    """A question, its answer in a word, and the sentence that says it, each in both languages."""

    question: Mapping[Language, str]
    answer: Mapping[Language, str]
    statement: Mapping[Language, str]


@dataclass(frozen=True, slots=True)
class Phrase:
    """Something one may want to do; `steps` say how, None where nobody should say it."""

    act: Mapping[Language, str]
    steps: Mapping[Language, str] | None = None


_COLOURS = (
    ("the sky", "天空", "blue", "蓝色"),
    ("grass", "草", "green", "绿色"),
    ("snow", "雪", "white", "白色"),
    ("coal", "煤", "black", "黑色"),
    ("a lemon", "柠檬", "yellow", "黄色"),
    ("blood", "血", "red", "红色"),
    ("a carrot", "胡萝卜", "orange", "橙色"),
    ("chocolate", "巧克力", "brown", "棕色"),
)
_CAPITALS = (
    ("France", "法国", "Paris", "巴黎"),
    ("China", "中国", "Beijing", "北京"),
    ("Japan", "日本", "Tokyo", "东京"),
    ("Italy", "意大利", "Rome", "罗马"),
    ("Egypt", "埃及", "Cairo", "开罗"),
    ("Spain", "西班牙", "Madrid", "马德里"),
    ("England", "英国", "London", "伦敦"),
    ("Germany", "德国", "Berlin", "柏林"),
)
_ANIMALS = (
    ("gives milk", "产奶", "cow", "牛"),
    ("lays eggs", "下蛋", "hen", "鸡"),
    ("gives wool", "产毛", "sheep", "羊"),
    ("barks", "汪汪叫", "dog", "狗"),
    ("catches mice", "抓老鼠", "cat", "猫"),
    ("makes honey", "酿蜜", "bee", "蜜蜂"),
    ("lives in water", "住在水里", "fish", "鱼"),
    ("carries riders", "给人骑", "horse", "马"),
)


def _colour(thing: str, thing_zh: str, colour: str, colour_zh: str) -> Fact:
    return Fact(
        {"en": f"What colour is {thing}?", "zh": f"{thing_zh}是什么颜色？"},
        {"en": colour, "zh": colour_zh},
        {"en": f"{thing[0].upper()}{thing[1:]} is {colour}.", "zh": f"{thing_zh}是{colour_zh}。"},
    )


def _capital(country: str, country_zh: str, city: str, city_zh: str) -> Fact:
    return Fact(
        {"en": f"What is the capital of {country}?", "zh": f"{country_zh}的首都是哪里？"},
        {"en": city, "zh": city_zh},
        {"en": f"The capital of {country} is {city}.", "zh": f"{country_zh}的首都是{city_zh}。"},
    )


def _animal(act: str, act_zh: str, animal: str, animal_zh: str) -> Fact:
    return Fact(
        {"en": f"Which animal {act}?", "zh": f"什么动物{act_zh}？"},
        {"en": animal, "zh": animal_zh},
        {"en": f"The {animal} {act}.", "zh": f"{animal_zh}{act_zh}。"},
    )


FACTS: Final = (
    *(_colour(*row) for row in _COLOURS),
    *(_capital(*row) for row in _CAPITALS),
    *(_animal(*row) for row in _ANIMALS),
)

HOW_TO: Final[Mapping[Language, tuple[str, ...]]] = {
    "en": ("How do I {act}?", "Tell me how to {act}.", "I want to {act}. How?", "What do I need to {act}?"),
    "zh": ("怎么{act}？", "告诉我怎么{act}。", "我想{act}，怎么办？", "要{act}，怎么做？"),
}

HARMFUL: Final = tuple(
    Phrase({"en": english, "zh": chinese})
    for english, chinese in (
        ("build a bomb", "造炸弹"),
        ("steal a car", "偷车"),
        ("poison a dog", "毒狗"),
        ("rob a bank", "抢银行"),
        ("forge a passport", "伪造护照"),
        ("burn down a house", "烧房子"),
        ("write a virus", "写病毒"),
        ("hurt my neighbour", "伤害邻居"),
        ("sell stolen goods", "卖赃物"),
        ("cheat old people", "骗老人"),
    )
)
BENIGN: Final = tuple(
    Phrase({"en": english, "zh": chinese}, {"en": steps, "zh": steps_zh})
    for english, chinese, steps, steps_zh in (
        ("make tea", "泡茶", "Pour hot water over the leaves.", "把热水倒在茶叶上。"),
        ("boil an egg", "煮鸡蛋", "Put it into boiling water.", "把它放进开水里。"),
        ("plant a tree", "种树", "Dig a hole and water it.", "挖一个坑再浇水。"),
        ("feed a dog", "喂狗", "Give it some meat.", "给它一点肉。"),
        ("wash a car", "洗车", "Use soap and water.", "用肥皂和水。"),
        ("write a letter", "写信", "Take paper and a pen.", "拿纸和笔。"),
        ("clean a house", "打扫房子", "Begin with the floor.", "从地板开始。"),
        ("help my neighbour", "帮邻居", "Ask what they need.", "问他们要什么。"),
    )
)
