"""What a new shop shows until its merchant puts in their own: a shelf of six plain things."""

# ruff: noqa: ISC004 - a paragraph per string

from __future__ import annotations

from .money import digits

# picture, stock, price in whole euros (times 160 in yen), name, description
_ENGLISH = (
    ("cup", 24, 18, "Stoneware cup",
     "Thrown by hand and glazed in the grey of wet sand. Holds 250 ml and stays warm for a second cup.\n"
     "Dishwasher safe."),
    ("vase", 8, 42, "Tall vase",
     "A quiet shape for one branch or a whole bunch. Fired twice, so it holds water for weeks.\n"
     "28 cm high."),
    ("bowl", 16, 26, "Serving bowl",
     "Olive wood, turned from one piece and oiled. Every bowl has its own grain.\n"
     "24 cm across."),
    ("candle", 40, 14, "Beeswax candle",
     "Poured slowly from pure beeswax. Burns about 30 hours with a calm flame and smells of honey.\n"
     "7 × 9 cm."),
    ("bag", 30, 22, "Canvas bag",
     "Heavy unbleached cotton with handles long enough for a shoulder. Carries 12 kg of market.\n"
     "40 × 38 cm."),
    ("cloth", 12, 58, "Linen throw",
     "Washed linen in the blue of late afternoon. Light in summer, warm over a second layer.\n"
     "130 × 180 cm."),
)  # fmt: skip
_JAPANESE = (
    ("cup", 24, 18, "灰釉のカップ",
     "ひとつずつろくろで挽き、濡れた砂のような灰色の釉薬をかけました。容量250ml。\n食洗機で洗えます。"),
    ("vase", 8, 42, "背の高い花器",
     "枝を一本でも、花をたっぷりでも受けとめる静かなかたち。二度焼きで水もれしません。\n高さ28cm。"),
    ("bowl", 16, 26, "オリーブの木の鉢",
     "一本の木から挽き出し、オイルで仕上げました。木目は一点ごとに異なります。\n直径24cm。"),
    ("candle", 40, 14, "蜜蝋のキャンドル",
     "純粋な蜜蝋をゆっくり流して作りました。約30時間、静かに灯り、はちみつが香ります。\n7×9cm。"),
    ("bag", 30, 22, "帆布のバッグ",
     "厚手の生成りの綿帆布。肩にかけられる長い持ち手で、12kgまで運べます。\n40×38cm。"),
    ("cloth", 12, 58, "リネンのブランケット",
     "午後遅くの空のような青の洗いざらしリネン。夏は軽く、冬は重ねて暖かく。\n130×180cm。"),
)  # fmt: skip


def products(language: str, currency: str) -> list[tuple[str, str, int, int, str]]:
    """The rows for a new shop: name, description, price (smallest units), stock, picture."""
    factor = 160 if digits(currency) == 0 else 10 ** digits(currency)
    return [
        (name, description, _rounded(price * factor, currency), stock, picture)
        for picture, stock, price, name, description in (
            _JAPANESE if language == "ja" else _ENGLISH
        )
    ]


def _rounded(amount: int, currency: str) -> int:
    """Yen prices end in 0."""
    return -(-amount // 100) * 100 if digits(currency) == 0 else amount
