"""Pictures drawn by the program: six still lifes in five moods, so a shop looks like one at birth.

Plain shapes with colours as attributes (no style attributes: the content policy forbids them).
"""

# ruff: noqa: E501 - a path is not prose

from __future__ import annotations

NAMES = ("cup", "vase", "bowl", "candle", "bag", "cloth")

# wall, table, thing, its shade, accent
_MOODS = (
    ("#E9E2D3", "#D8CDB8", "#8D9A9B", "#76858A", "#A94A22"),
    ("#DCE4E6", "#C3D0D4", "#B5694A", "#9A5438", "#1D5B9E"),
    ("#EFE3D6", "#DDCBB6", "#A9793F", "#8C6130", "#4F6B1F"),
    ("#E6E6DA", "#D2D3C0", "#D9A441", "#BE8B2D", "#FFF6DF"),
    ("#E3DDD6", "#CEC5BA", "#F4EEE2", "#DDD3C2", "#1D5B9E"),
    ("#F1E7DC", "#E0D1C0", "#3F6F9F", "#2F5A86", "#FAF8F4"),
)

# Drawn on 200 × 200, standing on the line at y = 152. {t} thing, {s} shade, {a} accent.
_SHAPES = {
    "cup": '<path d="M64 88h72v34a30 30 0 0 1-30 30H94a30 30 0 0 1-30-30z" fill="{t}"/>'
    '<path d="M136 98h8a15 15 0 0 1 0 30h-10" fill="none" stroke="{t}" stroke-width="9"/>'
    '<path d="M116 88h20v34a30 30 0 0 1-30 30 54 54 0 0 0 10-30z" fill="{s}"/>'
    '<ellipse cx="100" cy="88" rx="36" ry="7" fill="{s}"/>'
    '<path d="M90 70c-6-8 6-12 0-20M108 70c-6-8 6-12 0-20" fill="none" stroke="{s}" stroke-width="3" '
    'stroke-linecap="round" opacity=".5"/>',
    "vase": '<path d="M88 44h24v26c0 14 22 26 22 50 0 20-12 32-22 32H88c-10 0-22-12-22-32 0-24 22-36 22-50z" '
    'fill="{t}"/><path d="M104 44h8v26c0 14 22 26 22 50 0 20-12 32-22 32h-8c14-20 14-46 6-62-6-12-6-30-6-46z" '
    'fill="{s}"/><path d="M100 46C98 30 104 22 116 14M104 34c-8-4-12-10-12-18" fill="none" stroke="#5C6B43" '
    'stroke-width="3" stroke-linecap="round"/><circle cx="118" cy="13" r="7" fill="{a}"/>'
    '<circle cx="91" cy="14" r="5" fill="{a}"/>',
    "bowl": '<path d="M44 100h112a56 52 0 0 1-36 49v3H80v-3a56 52 0 0 1-36-49z" fill="{t}"/>'
    '<path d="M156 100a56 52 0 0 1-36 49v3h-22c24-12 34-30 36-52z" fill="{s}"/>'
    '<ellipse cx="100" cy="100" rx="56" ry="11" fill="{s}"/><circle cx="84" cy="90" r="14" fill="{a}"/>'
    '<circle cx="112" cy="88" r="16" fill="{a}" opacity=".8"/><path d="M46 103a56 11 0 0 0 108 0" fill="none" '
    'stroke="{t}" stroke-width="6"/>',
    "candle": '<rect x="74" y="78" width="52" height="74" rx="4" fill="{t}"/>'
    '<path d="M110 78h12a4 4 0 0 1 4 4v66a4 4 0 0 1-4 4h-12z" fill="{s}"/>'
    '<ellipse cx="100" cy="79" rx="26" ry="6" fill="{s}"/><path d="M100 79V64" stroke="#4A3B2A" '
    'stroke-width="3"/><path d="M100 34c10 14 12 20 12 24a12 12 0 0 1-24 0c0-6 4-12 12-24z" fill="{a}"/>'
    '<path d="M100 48c5 7 6 10 6 13a6 6 0 0 1-12 0c0-3 2-6 6-13z" fill="#E2882F"/>',
    "bag": '<path d="M78 82c0-46 44-46 44 0" fill="none" stroke="{s}" stroke-width="7"/>'
    '<path d="M58 80h84l6 68a4 4 0 0 1-4 4H56a4 4 0 0 1-4-4z" fill="{t}"/>'
    '<path d="M122 80h20l6 68a4 4 0 0 1-4 4h-26z" fill="{s}"/>'
    '<path d="M82 128v-16a14 14 0 0 1 28 0v16" fill="none" stroke="{a}" stroke-width="6"/>',
    "cloth": '<path d="M50 84c0-8 6-12 14-12h76c8 0 12 4 12 10v58c0 8-4 12-12 12H62c-8 0-12-4-12-12z" '
    'fill="{t}"/><path d="M50 106h102v20H50z" fill="{s}"/><path d="M50 116h102" stroke="{a}" '
    'stroke-width="3"/><path d="M56 152v10M72 152v10M88 152v10M104 152v10M120 152v10M136 152v10" '
    'stroke="{s}" stroke-width="4"/>',
}


def picture(name: str, number: int) -> str:
    """The drawing called `name`, in the mood that falls to product `number`. Decorative."""
    shape = _SHAPES.get(name) or _SHAPES["cup"]
    wall, table, thing, shade, accent = _MOODS[(number - 1) % len(_MOODS)]
    drawn = shape.replace("{t}", thing).replace("{s}", shade).replace("{a}", accent)
    return (
        '<svg viewBox="0 0 200 200" aria-hidden="true" focusable="false">'
        f'<path fill="{wall}" d="M0 0h200v200H0z"/><path fill="{table}" d="M0 142h200v58H0z"/>'
        f'<ellipse cx="106" cy="154" rx="60" ry="7" fill="{shade}" opacity=".28"/>{drawn}</svg>'
    )


def banner() -> str:
    """The covered walk by the sea at the head of the shelf."""
    columns = "".join(
        f'<path d="M{x} 66h26v6h-4v94h4v8h-26v-8h4V72h-4z"/>' for x in range(14, 420, 64)
    )
    return (
        '<svg class="banner" viewBox="0 0 420 190" preserveAspectRatio="xMidYMid slice" aria-hidden="true" '
        'focusable="false"><path fill="#F3DCC4" d="M0 0h420v120H0z"/><circle cx="300" cy="96" r="26" '
        'fill="#E9A06C"/><path fill="#7FA6C9" d="M0 112h420v50H0z"/><path fill="#6793BC" d="M0 128h420v34H0z"/>'
        '<path d="M262 118h76M276 124h48M286 131h28" stroke="#F3C9A0" stroke-width="2.5" '
        'stroke-linecap="round"/><path fill="#D9CDB8" d="M0 162h420v28H0z"/>'
        f'<g fill="#FAF5EA">{columns}<path d="M0 28h420v22H0z"/><path d="M0 54h420v12H0z" opacity=".92"/></g>'
        '<path fill="#A94A22" d="M0 16h420v12H0z"/><path d="M0 50h420" stroke="#CFC2AB" stroke-width="3"/>'
        "</svg>"
    )
