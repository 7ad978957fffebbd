"""The loss of a training run as a picture (SVG)."""

from __future__ import annotations

import math

WIDTH, HEIGHT, MARGIN = 640, 320, 48
SMOOTHED = 20  # steps in the mean that is drawn over the single steps


def loss_curve(losses: list[float], title: str) -> str:
    """Steps to the right, loss upwards on a logarithmic scale: every step thin, the mean of the last ones thick."""
    means = [sum(losses[max(0, i - SMOOTHED + 1) : i + 1]) / min(i + 1, SMOOTHED) for i in range(len(losses))]
    low = math.floor(math.log10(max(min(losses), 1e-4)))
    high = math.ceil(math.log10(max(losses)))
    high += high == low

    def x(step: int) -> float:
        return MARGIN + (WIDTH - 2 * MARGIN) * step / max(1, len(losses) - 1)

    def y(loss: float) -> float:
        share = (math.log10(max(loss, 10**low)) - low) / (high - low)
        return HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * share

    def line(values: list[float], style: str) -> str:
        points = " ".join(f"{x(i):.1f},{y(v):.1f}" for i, v in enumerate(values))
        return f'<polyline points="{points}" fill="none" {style}/>'

    grid = []
    for power in range(low, high + 1):
        at = y(10**power)
        grid.append(f'<line x1="{MARGIN}" x2="{WIDTH - MARGIN}" y1="{at:.1f}" y2="{at:.1f}" stroke="#ddd"/>')
        grid.append(f'<text x="{MARGIN - 6}" y="{at + 4:.1f}" text-anchor="end">{10.0**power:g}</text>')
    steps = [
        f'<text x="{x(step):.1f}" y="{HEIGHT - MARGIN + 18}" text-anchor="middle">{step + 1}</text>'
        for step in sorted({0, len(losses) // 2, len(losses) - 1})
    ]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
            f'<text x="{MARGIN}" y="24" font-size="14">{escaped(title)}</text>',
            *grid,
            *steps,
            f'<text x="{WIDTH // 2}" y="{HEIGHT - 8}" text-anchor="middle">step</text>',
            line(losses, 'stroke="#9bbcdc" stroke-width="0.8"'),
            line(means, 'stroke="#1f5fa8" stroke-width="2"'),
            "</svg>\n",
        ]
    )


def escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")
