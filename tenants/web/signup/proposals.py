"""From a shop's name to an address one may like: pure functions, Latin and Japanese names alike.

Kana are spelled in Hepburn without long vowels' marks; common words of Japanese shop names have
their usual spelling. Nothing here decides what is allowed or free: signups.check_slug does.
"""

import re
import unicodedata

LONGEST = 32

_KANA = {
    "あいうえお": "a i u e o",
    "かきくけこ": "ka ki ku ke ko",
    "さしすせそ": "sa shi su se so",
    "たちつてと": "ta chi tsu te to",
    "なにぬねの": "na ni nu ne no",
    "はひふへほ": "ha hi fu he ho",
    "まみむめも": "ma mi mu me mo",
    "やゆよ": "ya yu yo",
    "らりるれろ": "ra ri ru re ro",
    "わゐゑをん": "wa i e o n",
    "がぎぐげご": "ga gi gu ge go",
    "ざじずぜぞ": "za ji zu ze zo",
    "だぢづでど": "da ji zu de do",
    "ばびぶべぼ": "ba bi bu be bo",
    "ぱぴぷぺぽ": "pa pi pu pe po",
    "ぁぃぅぇぉ": "a i u e o",
    "ゔゕゖ": "vu ka ke",
}
_SPELLED = {
    kana: spelling
    for row, spellings in _KANA.items()
    for kana, spelling in zip(row, spellings.split(), strict=True)
}
_SMALL = {"ゃ": "ya", "ゅ": "yu", "ょ": "yo", "ぁ": "a", "ぃ": "i", "ぅ": "u", "ぇ": "e", "ぉ": "o"}
_BARE = {"sh", "ch", "j"}  # しゃ is sha, きゃ is kya
_LEANING = {"fu": "f", "vu": "v", "te": "t", "de": "d", "u": "w"}  # ファ is fa, ティ is ti

_WORDS = dict(
    pair.split("=")
    for pair in """
    和菓子=wagashi 洋菓子=yogashi 菓子=kashi 珈琲=coffee 喫茶=kissa 書店=shoten 商店=shoten 工房=kobo
    酒店=saketen 酒造=shuzo 花屋=hanaya 雑貨=zakka 文具=bungu 時計=tokei 眼鏡=megane 陶器=toki
    東京=tokyo 京都=kyoto 大阪=osaka 奈良=nara 神戸=kobe 横浜=yokohama 札幌=sapporo 福岡=fukuoka
    名古屋=nagoya 金沢=kanazawa 鎌倉=kamakura 沖縄=okinawa 仙台=sendai 広島=hiroshima 日本=nihon
    田中=tanaka 佐藤=sato 鈴木=suzuki 高橋=takahashi 伊藤=ito 渡辺=watanabe 山本=yamamoto
    中村=nakamura 小林=kobayashi 加藤=kato 吉田=yoshida 山田=yamada 青山=aoyama 古本=furuhon
    手作り=tezukuri 手仕事=teshigoto 屋=ya 店=ten 堂=do 亭=tei 庵=an 館=kan 園=en 舎=sha 軒=ken
    花=hana 茶=cha 酒=sake 米=kome 魚=sakana 肉=niku 鞄=kaban 靴=kutsu 本=hon 布=nuno 糸=ito 器=utsuwa
    桜=sakura 森=mori 林=hayashi 月=tsuki 星=hoshi 空=sora 海=umi 風=kaze 木=ki 山=yama 川=kawa
    田=da 猫=neko 犬=inu 鳥=tori 春=haru 夏=natsu 秋=aki 冬=fuyu 朝=asa 夜=yoru 雪=yuki 光=hikari
    青=ao 赤=aka 白=shiro 黒=kuro 緑=midori 金=kin 銀=gin 竹=take 梅=ume 松=matsu 石=ishi 土=tsuchi
    """.split()  # noqa: SIM905 - a list of a hundred quoted pairs reads worse
)
_LONGEST_WORD = max(map(len, _WORDS))


def propose(name: str) -> str:
    """Return an address for a shop of this name; "" where nothing in the name can be spelled."""
    spelled = _spell(_hiragana(unicodedata.normalize("NFKC", name).lower()))
    plain = unicodedata.normalize("NFKD", spelled.replace("ß", "ss").replace("&", " and "))
    plain = "".join(sign for sign in plain if not unicodedata.combining(sign))
    plain = re.sub(r"['’]", "", plain)
    words = re.findall(r"[a-z0-9]+", plain)
    return _shortened("-".join(words))


def variations(slug: str) -> list[str]:
    """Addresses like this one, the likeliest first, for when it is not to be had."""
    stem = _shortened(propose(slug) or "my-shop", LONGEST - 8)
    shapes = ("{}-shop", "{}-store", "my-{}", "{}-online", "hello-{}", "{}-goods", "the-{}")
    numbered = (f"{stem}-{number}" for number in range(2, 9))
    made = [shape.format(stem) for shape in shapes if not stem.endswith(shape.strip("{}-"))]
    return [*made, *numbered]


def _hiragana(text: str) -> str:
    # Katakana lie 0x60 above hiragana; the sign for a long vowel, ー, is dropped while spelling.
    return "".join(chr(ord(sign) - 0x60) if "ァ" <= sign <= "ヶ" else sign for sign in text)


def _spell(text: str) -> str:
    out: list[str] = []
    at = 0
    doubled = False
    while at < len(text):
        spelling, width = _next(text, at)
        if text[at] == "っ":
            doubled = True
        elif text[at] in _SMALL and out and out[-1].endswith("i") and text[at] in "ゃゅょぇ":
            stem = out.pop()[:-1]
            out.append(stem + (_SMALL[text[at]][-1] if stem in _BARE else _SMALL[text[at]]))
        elif text[at] in "ぁぃぇぉ" and out and out[-1] in _LEANING:
            out.append(_LEANING[out.pop()] + _SMALL[text[at]])
        else:
            out.append(_double(spelling) if doubled else spelling)
            doubled = False
        at += width
    return "".join(out)


def _next(text: str, at: int) -> tuple[str, int]:
    for width in range(min(_LONGEST_WORD, len(text) - at), 0, -1):
        word = _WORDS.get(text[at : at + width])
        if word:
            # Words stand apart unless they lean on what is before: 花屋 is hanaya, 東京 花 is not.
            return (word if width == 1 else f" {word} "), width
    sign = text[at]
    if sign == "ー":
        return "", 1
    return _SPELLED.get(sign, sign), 1


def _double(spelling: str) -> str:
    if spelling.startswith("ch"):
        return "t" + spelling
    return spelling[:1] + spelling


def _shortened(slug: str, longest: int = LONGEST) -> str:
    if len(slug) <= longest:
        return slug
    cut = slug[: longest + 1]
    return (cut.rpartition("-")[0] or cut[:longest]).strip("-")
