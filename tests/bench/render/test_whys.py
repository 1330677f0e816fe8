"""``bench.report --why``: what binds each case, in a terminal and in Markdown."""

from bench.cli.output import plain_text
from bench.render import markdown, terminal
from bench.stats.rows import build
from tests.bench.made_reports import measured, results_of


def test_each_case_has_its_sentence_in_a_terminal_and_in_markdown() -> None:
    items = [
        measured("fast", 1.0, roofs={"of_chain": 0.7}),
        measured("slow", 2.0, roofs={"of_matmul": 0.9}),
    ]
    made = build(results_of(*items))
    text = plain_text(lambda console: terminal.draw_whys(made.sections[0], console, 100), 200)
    marked = markdown.whys(made)
    for each in (text, marked):
        assert "bound by the chain of products: " in each
        assert "bound by products: " in each
    assert "| `b2-t10-i3-h4` | `fast` | 1.00 s | bound by the chain" in marked
