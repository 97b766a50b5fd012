"""Prints a report as a table of calls and clients, then what failed. Fails if anything did."""

import sys


def main(report):
    with open(report, encoding="utf-8") as lines:
        rows = [line.rstrip("\n").split("\t") for line in lines]
    found = {(client, call): result for client, call, result in rows}
    clients = list(dict.fromkeys(client for client, _, _ in rows))
    calls = list(dict.fromkeys(call for _, call, _ in rows))
    first = max(len(call) for call in calls)
    heads = [client.split(" (") for client in clients]
    widths = [max(len(part.rstrip(")")) for part in head) for head in heads]

    def line(label, cells):
        padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        print(f"{label.ljust(first)}  {'  '.join(padded)}".rstrip())

    line("", [head[0] for head in heads])
    line("", [head[1].rstrip(")") if len(head) > 1 else "" for head in heads])
    for call in calls:
        results = [found.get((client, call)) for client in clients]
        line(call, ["" if r is None else "ok" if r == "ok" else "FAIL" for r in results])
    failed = [row for row in rows if row[2] != "ok"]
    for client, call, result in failed:
        print(f"{client}, {call}: {result}")
    print(f"{len(rows) - len(failed)} of {len(rows)} hold")
    return 1 if failed or not rows else 0


sys.exit(main(sys.argv[1]))
