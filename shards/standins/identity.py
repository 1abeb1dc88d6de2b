"""Who a drawn face is: what stays when the expression changes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

RGB = tuple[float, float, float]  # linear in the pixel value, [0, 1]

HAIR_STYLES = (
    "short", "side", "quiff", "buzz", "bald", "bob", "long", "wavy", "tail", "curly", "fringe",
)  # fmt: skip
_SKINS = (
    (0.98, 0.86, 0.78), (0.96, 0.80, 0.69), (0.91, 0.73, 0.59), (0.84, 0.63, 0.48),
    (0.73, 0.52, 0.37), (0.58, 0.39, 0.27), (0.43, 0.28, 0.20), (0.33, 0.21, 0.16),
)  # fmt: skip
_HAIRS = (
    (0.10, 0.08, 0.08), (0.17, 0.11, 0.08), (0.30, 0.19, 0.12), (0.45, 0.28, 0.15),
    (0.62, 0.42, 0.22), (0.83, 0.66, 0.38), (0.58, 0.24, 0.12),
)  # fmt: skip
_IRISES = (
    (0.26, 0.15, 0.08), (0.38, 0.23, 0.10), (0.45, 0.38, 0.16), (0.27, 0.42, 0.24),
    (0.25, 0.45, 0.62), (0.42, 0.52, 0.58),
)  # fmt: skip
_CLOTHES = (
    (0.16, 0.24, 0.38), (0.55, 0.16, 0.20), (0.90, 0.87, 0.80), (0.20, 0.42, 0.40),
    (0.82, 0.55, 0.22), (0.36, 0.30, 0.46), (0.25, 0.27, 0.30), (0.62, 0.72, 0.80),
)  # fmt: skip


def mix(a: RGB, b: RGB, amount: float) -> RGB:
    """`a` moved towards `b`."""
    (red, green, blue), (to_red, to_green, to_blue) = a, b
    return (
        float(red + (to_red - red) * amount),
        float(green + (to_green - green) * amount),
        float(blue + (to_blue - blue) * amount),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What stays when the expression changes. Shapes are factors about 1; colours are RGB."""

    length: float  # of the face
    jaw: float  # width of the jaw
    chin: float  # width of the chin
    eye_gap: float
    eye_size: float
    eye_tilt: float  # how far the outer corner lies above the inner one
    brow_height: float
    brow_weight: float
    brow_arch: float
    nose_width: float
    nose_length: float
    mouth_width: float
    lips: float  # fullness
    ears: float
    skin: RGB
    hair: RGB
    iris: RGB
    lip: RGB
    clothes: RGB
    collar: str  # round, v, shirt
    hair_style: str  # one of HAIR_STYLES
    side: int  # -1 or 1: where hair is parted
    age: float  # 0 young .. 1 old: lines, bags, grey hair
    blush: float
    freckles: float
    makeup: float
    beard: str | None = None  # stubble, moustache, goatee, full
    glasses: str | None = None  # round, square
    earrings: bool = False
    grain: int = 0  # seeds strands, freckles and stubble, so that they stay with the person

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Identity:
        """A random person."""

        def about(middle: float, spread: float) -> float:
            return float(middle + spread * np.clip(rng.normal(), -2, 2) / 2)

        feminine = rng.random() < 0.5
        age = float(rng.beta(1.3, 2.2))
        tone = rng.uniform(0, len(_SKINS) - 1)
        skin = mix(_SKINS[int(tone)], _SKINS[int(tone) + 1], tone % 1)
        dark = skin[0] < 0.7
        hair = _HAIRS[rng.integers(3 if dark else len(_HAIRS))]
        grey = float(np.clip((age - 0.45) * 2.2 * rng.random() * 1.4, 0, 0.95))
        styles = HAIR_STYLES[5:] if feminine else (*HAIR_STYLES[:5], *HAIR_STYLES[-2:])
        makeup = float(rng.random() * 0.9) if feminine else 0.0
        lip = mix(mix(skin, (0.78, 0.30, 0.32), 0.5), (0.74, 0.12, 0.20), 0.75 * makeup**1.5)
        return cls(
            length=about(1.0, 0.09),
            jaw=about(0.95 if feminine else 1.03, 0.09),
            chin=about(0.92 if feminine else 1.08, 0.2),
            eye_gap=about(1.0, 0.08),
            eye_size=about(1.08 if feminine else 0.98, 0.12),
            eye_tilt=about(0.03, 0.05),
            brow_height=about(1.0, 0.14),
            brow_weight=about(0.8 if feminine else 1.2, 0.3),
            brow_arch=about(1.2 if feminine else 0.8, 0.5),
            nose_width=about(1.12 if dark else 0.98, 0.18),
            nose_length=about(1.0, 0.08),
            mouth_width=about(1.0, 0.1),
            lips=about(1.15 if feminine or dark else 0.9, 0.3),
            ears=about(1.0, 0.15),
            skin=skin,
            hair=mix(hair, (0.80, 0.79, 0.78), grey),
            iris=_IRISES[rng.integers(2 if dark else len(_IRISES))],
            lip=mix(lip, skin, 0.12),
            clothes=_CLOTHES[rng.integers(len(_CLOTHES))],
            collar=str(rng.choice(["round", "v", "shirt"])),
            hair_style=str(rng.choice(styles)),
            side=int(rng.choice([-1, 1])),
            age=age,
            blush=float(rng.uniform(0.3, 1.0)),
            freckles=float(rng.random() < 0.15) if not dark else 0.0,
            makeup=makeup,
            beard=None
            if feminine or rng.random() < 0.5
            else str(rng.choice(["stubble", "moustache", "goatee", "full"])),
            glasses=str(rng.choice(["round", "square"])) if rng.random() < 0.2 else None,
            earrings=bool(feminine and rng.random() < 0.4),
            grain=int(rng.integers(1 << 31)),
        )

    def bare(self) -> Identity:
        """The same person with nothing over brows, eyes and mouth."""
        style = "short" if self.hair_style == "fringe" else self.hair_style
        return replace(self, beard=None, glasses=None, hair_style=style)
