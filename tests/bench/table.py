"""Print the benchmarks' results as Markdown tables."""

from __future__ import annotations

import json

from results import FOLDER


def markdown(title: str, machine: dict[str, object], rows: list[dict[str, object]]) -> str:
    """One table: a column a key, numbers to the right."""
    columns = list(rows[0])
    numeric = [all(isinstance(row[column], int | float | None) for row in rows) for column in columns]
    lines = [
        " | ".join(columns),
        " | ".join("---:" if number else "---" for number in numeric),
        *(" | ".join(_cell(row[column]) for column in columns) for row in rows),
    ]
    table = "\n".join(f"| {line} |" for line in lines)
    return f"**{title}** ({', '.join(f'{key} {value}' for key, value in machine.items())})\n\n{table}\n"


def _cell(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.2f}" if abs(value) < 100 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def main() -> None:
    """Print one table for each file of results."""
    for path in sorted(FOLDER.glob("*.json")):
        print(markdown(**json.loads(path.read_text())))


if __name__ == "__main__":
    main()
