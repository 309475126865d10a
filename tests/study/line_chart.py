"""Line charts as SVG files, readable on white and on dark pages."""

import html

COLOURS = ("#2166ac", "#d6604d", "#1b7837", "#b8860b", "#762a83")
WIDTH, HEIGHT = 460, 300
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 34, 44


def _ticks(low, high):
    """At most six round numbers from low to high."""
    span = max(high - low, 1e-12)
    step = 10.0 ** -12
    while span / step > 6:
        for factor in (2, 2.5, 2):  # 1, 2, 5, 10
            step *= factor
            if span / step <= 6:
                break
    first = -(-low // step)
    return [first * step + i * step for i in range(int((high - first * step) / step + 1e-9) + 1)]


def _label(value):
    return f"{value:.6g}"


def write(path, title, x_name, y_name, series, levels=(), y_range=None):
    """series: {name: [[(x, y), …] of each seed, …]}: thin lines, and a thick one for their mean where
    all have the same x. levels: [(name, y)], dashed."""
    curves = [curve for seeds in series.values() for curve in seeds if curve]
    x_low, x_high = 0, max(x for curve in curves for x, _ in curve)
    values = [y for curve in curves for _, y in curve] + [y for _, y in levels]
    y_low, y_high = y_range or (min(0, min(values)), max(values) * 1.05)

    def at(x, y):
        return (LEFT + (x - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT),
                HEIGHT - BOTTOM - (y - y_low) / (y_high - y_low) * (HEIGHT - TOP - BOTTOM))

    def line(points, colour, width, opacity, dashes=""):
        text = " ".join(f"{x:.1f},{y:.1f}" for x, y in (at(*point) for point in points))
        return (f'<polyline points="{text}" fill="none" stroke="{colour}" stroke-width="{width}" '
                f'stroke-opacity="{opacity}" stroke-dasharray="{dashes}"/>')

    def words(x, y, text, anchor="middle", size=11, colour="#222", turn=""):
        return (f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" '
                f'fill="{colour}" {turn}>{html.escape(text)}</text>')

    legend_rows = len(series) + len(levels)
    height = HEIGHT + 15 * legend_rows
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
             f'font-family="sans-serif"><rect width="{WIDTH}" height="{height}" fill="#fff"/>',
             words(WIDTH / 2, 20, title, size=13)]
    for y in _ticks(y_low, y_high):
        parts += [line([(x_low, y), (x_high, y)], "#ccc", 1, 1),
                  words(LEFT - 6, at(0, y)[1] + 4, _label(y), "end")]
    for x in _ticks(x_low, x_high):
        parts.append(words(at(x, y_low)[0], HEIGHT - BOTTOM + 16, _label(x)))
    parts += [words((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, x_name),
              words(14, (TOP + HEIGHT - BOTTOM) / 2, y_name,
                    turn=f'transform="rotate(-90 14 {(TOP + HEIGHT - BOTTOM) / 2})"')]

    row = HEIGHT + 4
    for (name, seeds), colour in zip(series.items(), COLOURS):
        seeds = [curve for curve in seeds if curve]
        has_mean = len({tuple(x for x, _ in curve) for curve in seeds}) == 1
        parts += [line(curve, colour, 1 if has_mean else 1.6, 0.45 if has_mean else 0.8) for curve in seeds]
        if has_mean:
            mean = [(points[0][0], sum(y for _, y in points) / len(points)) for points in zip(*seeds)]
            parts.append(line(mean, colour, 2.5, 1))
        parts += [f'<line x1="{LEFT}" x2="{LEFT + 22}" y1="{row - 4}" y2="{row - 4}" stroke="{colour}" '
                  'stroke-width="2.5"/>', words(LEFT + 28, row, name, "start")]
        row += 15
    for name, y in levels:
        parts += [line([(x_low, y), (x_high, y)], "#222", 1.2, 1, "5 4"),
                  f'<line x1="{LEFT}" x2="{LEFT + 22}" y1="{row - 4}" y2="{row - 4}" stroke="#222" '
                  'stroke-dasharray="5 4"/>', words(LEFT + 28, row, name, "start")]
        row += 15
    path.write_text("\n".join(parts) + "\n</svg>\n")
