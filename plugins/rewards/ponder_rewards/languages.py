"""The languages that words are counted in, the scripts they are written in, and their commonest words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

Code: TypeAlias = Literal[
    "ar",
    "de",
    "el",
    "en",
    "es",
    "fa",
    "fr",
    "he",
    "hi",
    "it",
    "ja",
    "ko",
    "nl",
    "pl",
    "pt",
    "ru",
    "th",
    "tr",
    "uk",
    "vi",
    "zh",
]
"""Codes of ISO 639-1."""
CodeOrQuestion: TypeAlias = Literal[
    "ar", "de", "el", "en", "es", "fa", "fr", "he", "hi", "it", "ja", "ko", "nl", "pl", "pt", "ru", "th", "tr", "uk", "vi", "zh",
    "question",
]  # fmt: skip

OTHER: Final = "other"

SCRIPTS: Final[Mapping[Code, str]] = {
    "ar": "arabic",
    "de": "latin",
    "el": "greek",
    "en": "latin",
    "es": "latin",
    "fa": "arabic",
    "fr": "latin",
    "he": "hebrew",
    "hi": "devanagari",
    "it": "latin",
    "ja": "kana",
    "ko": "hangul",
    "nl": "latin",
    "pl": "latin",
    "pt": "latin",
    "ru": "cyrillic",
    "th": "thai",
    "tr": "latin",
    "uk": "cyrillic",
    "vi": "latin",
    "zh": "han",
}

RIVALS: Final[Mapping[str, tuple[Code, ...]]] = {
    "latin": ("en", "de", "es", "fr"),
    "cyrillic": ("ru", "uk"),
    "arabic": ("ar", "fa"),
}
"""The languages of a script that are told apart from the target where the recipe names no others."""

_COMMON: Final[Mapping[Code, str]] = {
    "en": """
        the a an am i you he she it we they me him us them my your his her its our their this that these those
        and or but if so as than then of to in on at by for from with about into is are was were be been has
        have had do does did will would can could should must let not no yes there here who what which when
        where why how all each both only also just now first next finally thus hence therefore since because
        however wait it's that's let's i'm we're we'll don't isn't car con den die door due era go ha hat hay
        hem jest man over per plus pour sin son ten ton van want war come ben
    """,
    "de": """
        der die das den dem des ein eine einen einem einer eines ich du er sie es wir ihr mir mich dir dich uns
        sich mein sein seine ihre unser dieser diese dieses diesen und oder aber wenn weil dass daß ob als wie
        dann denn von zu zum zur in im an am auf aus bei mit nach für über durch um vor ist sind war waren bin
        hat haben hatte wird werden kann können muss müssen nicht kein keine ja nein hier da was wer wo man nur
        auch noch schon jetzt nun also so daher damit zuerst her hin will
    """,
    "es": """
        el la los las lo un una unos unas uno dos tres yo tú él ella nosotros ellos ellas me te se nos le les mi
        tu su sus este esta esto estos estas ese esa eso pero si porque que qué como cómo cuando entonces de del
        a al en con por para sin sobre es son era está están ser hay ha he no sí más muy ya cada también así
        luego ahora primero pues donde
    """,
    "fr": """
        le la les un une des du de je tu il elle nous vous ils elles on me te se lui leur mon ma mes ton son sa
        ses notre ce cet cette ces et ou mais si car que qui quoi comme quand donc alors à a au aux en dans par
        pour sur avec sans est sont était être ont ai ne pas non oui plus très tout tous chaque deux aussi ainsi
        puis ici or as c'est j'ai n'est d'un d'une qu'il qu'on
    """,
    "it": """
        il lo la i gli le un uno una io tu lui lei noi voi loro mi ti si ci me mio suo sua questo questa questi
        ed ma se perché che chi come quando allora di del della dei a al alla da dal in nel nella con per su è
        sono era essere ha ho hanno non no sì più anche poi quindi ora prima così ogni due
    """,
    "pt": """
        a os as um uma eu tu ele ela nós eles elas me te se nos lhe meu seu sua este esta isto esse essa isso ou
        mas porque que como quando então de do da dos das em no na nas ao com por para sem é são era está ser há
        tem não sim mais muito já cada também assim depois agora primeiro pois
    """,
    "nl": """
        de het een ik jij je hij zij ze wij we jullie mij me hem haar ons zich mijn zijn deze dit die dat en of
        maar als omdat dan van naar te in op aan bij met voor door over uit om is was waren ben heeft hebben had
        wordt worden kan moet niet geen nee ja hier er wat wie waar hoe ook nog nu dus eerst daarna want so
    """,
    "pl": """
        ja ty on ona ono my wy oni mnie ci go jej ich mu się mój jego ten ta to te i a oraz lub albo ale jeśli
        bo że czy jak gdy więc we ze do na po od dla przez przed przy jest są był była być ma nie tak tu tam co
        kto gdzie już też tylko teraz potem następnie zatem
    """,
    "tr": """
        bir bu şu ben sen biz siz onlar bana sana ona bunu onu ve veya ya ama fakat eğer çünkü ki ile için gibi
        kadar göre sonra önce daha çok en her de da mi mı mu mü ne nasıl var yok değil evet hayır olarak olan
        olur şimdi yani
    """,
    "vi": """
        là và của có không một các những này đó được cho trong với để khi thì mà nếu vì nên tôi ta chúng bạn nó
        từ đến trên ra vào cũng đã sẽ đang rồi hay hoặc như lại vậy do theo ở bằng số hai
    """,
}
COMMON_WORDS: Final[Mapping[Code, frozenset[str]]] = {code: frozenset(words.split()) for code, words in _COMMON.items()}
"""Words that tell the languages of the Latin script apart in short sentences: pronouns, articles, prepositions, conjunctions,
auxiliaries, adverbs of reasoning. What two languages write alike is in both lists, whatever it means there: "die", "on"."""
