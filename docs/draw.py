"""Draw slice-and-merge.svg and speed.svg beside this file: draw.py [OUTPUT OF cargo bench]

Without an argument the figures of the chart are those of the table in performance.md. Colours follow the reader's scheme, dark or
light, by a media query. Only the standard library is used.
"""

import sys
from html import escape
from pathlib import Path

HERE = Path(__file__).parent
STYLE = """<style>
  svg { font: 13px system-ui, sans-serif; }
  .paper { fill: #ffffff; } text { fill: #1f2328; } .soft { fill: #59636e; } .line { stroke: #8c959f; fill: none; }
  .ours { fill: #0969da; } .theirs { fill: #b6bec8; } .a { fill: #54aeff; } .b { fill: #f0b72f; } .c { fill: #6fbf73; }
  @media (prefers-color-scheme: dark) {
    .paper { fill: #0d1117; } text { fill: #e6edf3; } .soft { fill: #9198a1; } .line { stroke: #656c76; }
    .ours { fill: #4493f8; } .theirs { fill: #4d5662; } .a { fill: #1f6feb; } .b { fill: #9e6a03; } .c { fill: #2f7d3a; }
  }
</style>"""
JOBS = ("`slice`, plain", "`slice --shuffle`, plain", "`slice`, gzip to gzip", "`slice --shuffle`, gzip to gzip", "`slice`, Zarr v2", "`merge`, plain",
        "`merge`, gzip to plain", "`merge`, gzip to Zarr")
# The jobs as `cargo bench` names them, up to the size of shards.
NAMES = {"slice plain.h5ad": JOBS[0], "slice plain.h5ad shuffle": JOBS[1], "slice gzip.h5ad gzip": JOBS[2], "slice gzip.h5ad gzip shuffle": JOBS[3],
         "slice v2.zarr": JOBS[4], "merge plain": JOBS[5], "merge gzip": JOBS[6], "merge gzip zarr": JOBS[7]}


def svg(width, height, title, parts):
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">\n'
            f'<title>{escape(title)}</title>\n{STYLE}\n<rect class="paper" width="{width}" height="{height}" rx="6"/>\n' + "\n".join(parts) + "\n</svg>\n")


def text(x, y, words, anchor="start", kind=""):
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" class="{kind}">{escape(words)}</text>'


def rect(x, y, width, height, kind):
    return f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" class="{kind}" rx="1"/>'


def cells(line):
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def of_page():
    """Job -> (ratio of time, our MiB, their MiB), of the rows of the page that are against the Python tool."""
    rows = [cells(line) for line in (HERE / "performance.md").read_text().splitlines() if line.startswith("| `")]
    return {row[0]: (float(row[2]), float(row[3]), float(row[4])) for row in rows if len(row) == 5 and row[1] == "the Python tool"}


def of_bench(path):
    """The same of the table that `cargo bench` prints."""
    rows = [cells(line) for line in Path(path).read_text().splitlines() if line.startswith("| `")]
    return {NAMES[name]: (float(row[6]), float(row[2]), float(row[5])) for row in rows if row[3] == "Python" and (name := bench_job(row[0])) in NAMES}


def bench_job(args):
    words = args.strip("`").split()
    source = words[1] if words[0] == "slice" else words[2].partition("_")[0] if len(words) > 2 else ""
    extra = ["gzip"] * ("--compression" in words) + ["shuffle"] * ("--shuffle" in words) + ["zarr"] * (words[1:2] == ["out/m.zarr"])
    return " ".join([words[0], source, *extra])


def bars(x, y, width, ours, theirs, most, unit):
    """Two bars, one above the other, with their values."""
    return [rect(x, y, max(width * ours / most, 1), 9, "ours"), rect(x, y + 10, width * theirs / most, 9, "theirs"),
            text(x + width * ours / most + 4, y + 9, unit(ours), kind="soft"), text(x + width * theirs / most + 4, y + 19, unit(theirs), kind="soft")]


def speed(figures):
    known = [job for job in JOBS if job in figures]
    most = max(max(figures[job][1:]) for job in known)
    parts = [text(250, 24, "time, of that of the Python tool"), text(520, 24, "peak memory, MiB"),
             rect(16, 14, 12, 12, "ours"), text(34, 24, "annslicer"), rect(110, 14, 12, 12, "theirs"), text(128, 24, "Python tool")]
    for i, job in enumerate(known):
        y, (ratio, ours, theirs) = 42 + 30 * i, figures[job]
        parts.append(text(16, y + 14, job.replace("`", "")))
        parts += bars(250, y, 190, ratio, 1, 1, lambda v: f"{v:.2f}") + bars(520, y, 190, ours, theirs, most, lambda v: f"{v:.0f}")
    return svg(760, 50 + 30 * len(known), "Time and peak memory of annslicer and of the Python tool", parts)


def file(x, y, rows, name, below=None):
    """A file as a box of rows of cells, in the colours of where they come from."""
    box = f'<rect x="{x - 4}" y="{y - 4}" width="76" height="{len(rows) * 9 + 7}" class="line" rx="3"/>'
    return [box, *(rect(x, y + 9 * i, 68, 8, kind) for i, kind in enumerate(rows)), text(x + 34, y - 10, name, "middle"),
            *([text(x + 34, y + 9 * len(rows) + 18, below, "middle", "soft")] if below else [])]


def arrow(x, y, to_x, to_y):
    return f'<path d="M{x} {y} L{to_x} {to_y}" class="line" marker-end="url(#tip)"/>'


def picture():
    whole, mixed = "aaaabbbbcccc", ("cabb", "aacb", "bcca")
    tip = '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto"><path d="M0 0 L8 4 L0 8" class="line"/></marker></defs>'
    parts = [tip, *file(30, 84, whole, "atlas.h5ad", "all cells")]
    for i, rows in enumerate(("aaaa", "bbbb", "cccc")):
        parts += [arrow(108, 138, 196, 72 + 72 * i), *file(206, 54 + 72 * i, rows, f"_shard_{i}")]
    parts += [text(150, 20, "slice", "middle")]
    for i, rows in enumerate(mixed):
        parts += [*file(346, 54 + 72 * i, rows, f"_shard_{i}"), arrow(424, 72 + 72 * i, 566, 138)]
    parts += [text(380, 20, "slice --shuffle", "middle"), text(500, 20, "merge", "middle"), *file(576, 84, "".join(mixed), "whole.h5ad", "all cells again")]
    return svg(680, 260, "slice takes the rows of a file to shards, merge puts the rows of files after each other", parts)


if __name__ == "__main__":
    (HERE / "slice-and-merge.svg").write_text(picture())
    (HERE / "speed.svg").write_text(speed(of_bench(sys.argv[1]) if len(sys.argv) > 1 else of_page()))
