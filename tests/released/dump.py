"""Writes a dataset into a folder: dump.py SERVER PROJECT DATASET FOLDER.

Of each table there is what the server tells of its columns, partitions and clusters (TABLE.json), and its rows
(TABLE.ndjson.gz: numbers as numbers, times as RFC 3339, JSON as text, no nulls); and the views, in the order in which they
were made, because they read each other (views.json, with ${dataset} for the dataset's name).
"""

import datetime
import gzip
import json
import pathlib
import sys
import urllib.request

server, project, dataset, folder = sys.argv[1:]
base = f"{server}/bigquery/v2/projects/{project}"
folder = pathlib.Path(folder)


def ask(path, body=None):
    request = urllib.request.Request(f"{base}/{path}", body and json.dumps(body).encode())
    request.add_header("content-type", "application/json")
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def value(kind, text):
    match kind:
        case "INTEGER":
            return int(text)
        case "TIMESTAMP":
            time = datetime.datetime(1970, 1, 1) + datetime.timedelta(microseconds=int(text))
            return time.isoformat(timespec="microseconds") + "Z"
        case "JSON":
            return json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text


def rows(table, fields):
    sql = f"SELECT * FROM `{project}`.{dataset}.{table} ORDER BY 1"
    form = {"useInt64Timestamp": True}
    answer = ask("queries", {"query": sql, "useLegacySql": False, "formatOptions": form})
    found = answer.get("rows", [])
    assert len(found) == int(answer["totalRows"]), f"{table} has more than one page of rows"
    for row in found:
        cells = zip(fields, (cell["v"] for cell in row["f"]))
        yield {field["name"]: value(field["type"], text) for field, text in cells if text is not None}


def text(value):
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


folder.mkdir(parents=True)
listed = ask(f"datasets/{dataset}/tables?maxResults=1000")["tables"]
made = [ask(f"datasets/{dataset}/tables/{table['tableReference']['tableId']}") for table in listed]
made.sort(key=lambda table: int(table["creationTime"]))
views = []
for table in made:
    name = table["tableReference"]["tableId"]
    if "view" in table:
        query = table["view"]["query"].replace(f"`{project}`.{dataset}", "${dataset}")
        views.append({"name": name, "query": query})
        continue
    kept = {key: table[key] for key in ("schema", "timePartitioning", "clustering")}
    (folder / f"{name}.json").write_text(text(kept))
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows(name, table["schema"]["fields"]))
    (folder / f"{name}.ndjson.gz").write_bytes(gzip.compress(lines.encode(), mtime=0))
(folder / "views.json").write_text(text(views))
