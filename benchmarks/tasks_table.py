"""Put the tasks that there are into the tables of both READMEs, as their files and the catalogue of messages say."""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

from lucency.report.numbers import metric_name
from lucency.tasks import Task, every_task
from lucency.text import name, t

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- tasks:begin -->", "<!-- tasks:end -->"

#: README to its language.
READMES = {"README.md": "en", "README.zh.md": "zh"}


def block(tasks: Mapping[str, Task], lang: str) -> str:
    """Return the table of all tasks."""
    heads = [t(f"table.task_{column}", lang) for column in ("name", "learns", "answers", "judged")]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for task in tasks.values():
        called = f"{name('task', task.name, lang)} (`--task {task.name}`)"
        if task.experimental:
            called += t("table.task_experimental", lang)
        learns, answers = (t(f"{kind}.{task.name}", lang) for kind in ("learns", "answers"))
        lines.append(f"| {called} | {learns} | {answers} | {metric_name(task.headline, lang)} |")
    return "\n".join(lines)


def replaced(text: str, table: str, file: str) -> str:
    """Return a README with what stands between its markers exchanged.

    Raises:
        SystemExit: The markers are not there exactly once, in order.
    """
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise SystemExit(f"{file}: expected {BEGIN} and then {END}, once each")
    head, _, rest = text.partition(BEGIN)
    return f"{head}{BEGIN}\n{table}\n{END}{rest.partition(END)[2]}"


def main() -> int:
    """Rewrite both READMEs, or with ``--check`` say whether they are up to date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; status 1 where a table is out of date")
    options = parser.parse_args()
    stale = []
    for file, lang in READMES.items():
        path = ROOT / file
        before = path.read_text(encoding="utf-8")
        after = replaced(before, block(every_task(), lang), file)
        if after != before:
            stale.append(file)
            if not options.check:
                path.write_text(after, encoding="utf-8", newline="\n")
    print(f"{'out of date' if options.check else 'rewritten'}: {', '.join(stale)}" if stale else "up to date")
    return int(bool(stale) and options.check)


if __name__ == "__main__":
    sys.exit(main())
