"""Remembers how local-bigquery translates a question for DuckDB, which is most of a question's time.

Our questions are few and long, and each dataset asks the same ones. A translation holds for the text (without the
dataset's name), the types of its parameters, and the dataset's tables: their columns and partitions. What else a rule
of local-bigquery looks at (scripts, sessions, temporary tables) is not remembered.
"""

import hashlib
import os
import pathlib
import pickle
import re
import sys

from local_bigquery.catalog import tables
from local_bigquery.engine import database, results
from local_bigquery.jobs import query
from local_bigquery.sql import script, translate
from sqlglot import exp

DATASET = re.compile(r"\btest_\d+_\d+\b")
NAMELESS = "test_0_0"
FOLDER = pathlib.Path(sys.prefix) / "translations"
WORTH_IT = 2_000  # characters
# A semicolon is one only outside of comments and strings.
TOKEN = re.compile(r"--[^\n]*|/\*.*?\*/|'(?:[^'\\]|\\.)*'|;", re.DOTALL)

_parse, _parse_script, _translate = query.parse, script.parse_script, query.translate
_from_duckdb, _materialise, _write = query.from_duckdb, results.materialise, query._write
known = {}


class Question(exp.Select):
    """A SELECT whose text is parsed only where its translation is not known."""


def alone(sql):
    """Whether this is one SELECT, and a long one."""
    if len(sql) < WORTH_IT or not sql.lstrip()[:6].upper().startswith(("WITH", "SELECT")):
        return False
    return all(token[0] != ";" for token in TOKEN.findall(sql))


def parse_script(sql):
    return [script.Statement("SQL", sql)] if alone(sql) else _parse_script(sql)


def parse(sql):
    if not alone(sql):
        return _parse(sql)
    question = Question()
    question.meta["text"] = sql
    return [question]


def parsed(tree):
    return _parse(tree.meta["text"])[0] if isinstance(tree, Question) else tree


def from_duckdb(error, context=None, tree=None):
    return _from_duckdb(error, context, parsed(tree))


def remembered(dataset, parts, make):
    """The texts made of these parts: out of memory, out of a file, or made now. There the dataset has no name."""
    key = hashlib.sha256(repr(parts).replace(dataset, NAMELESS).encode()).hexdigest()
    if key not in known:
        path = FOLDER / key
        try:
            known[key] = pickle.loads(path.read_bytes())
        except (OSError, EOFError, pickle.UnpicklingError):
            known[key] = [text.replace(dataset, NAMELESS) for text in make()]
            FOLDER.mkdir(exist_ok=True)
            scratch = path.with_suffix(f".{os.getpid()}")
            scratch.write_bytes(pickle.dumps(known[key]))
            scratch.replace(path)
    return [text.replace(NAMELESS, dataset) for text in known[key]]


def tables_of(dataset):
    """What a rule may look up about the dataset's tables."""
    columns = "SELECT table_name, column_name, data_type FROM duckdb_columns() WHERE schema_name = ? ORDER BY ALL"
    stored = (
        "SELECT table_id, resource->>'timePartitioning', resource->>'requirePartitionFilter', "
        "resource->>'expirationTime' FROM emulator.tables WHERE dataset_id = ? ORDER BY ALL"
    )
    return [database.fetch(columns, [dataset]), database.fetch(stored, [dataset])]


def translated(tree, context):
    names = set(DATASET.findall(tree.meta["text"])) if isinstance(tree, Question) else set()
    plain = not (context.temporary or context.variables or context.settings or context.functions)
    if len(names) != 1 or not plain:
        return _translate(parsed(tree), context)
    (dataset,) = names
    parts = [tree.meta["text"], context.parameters, context.project_id, context.dataset_id, tables_of(dataset)]

    def make():
        sql, _ = _translate(parsed(tree), context)
        referenced = [part for reference in sorted(context.referenced) for part in reference]
        return [sql, " ".join(sorted(context.used)), *referenced]

    sql, used, *referenced = remembered(dataset, parts, make)
    context.referenced.update(zip(*[iter(referenced)] * 3))
    return sql, {name: context.values[name] for name in used.split()}


def materialise(cur, sql, name, params=None, append=False, writer=None):
    """Plans the question once, not twice, where the casts of its columns are known."""
    names = set(DATASET.findall(sql))
    if append or writer is not None or len(sql) < WORTH_IT or len(names) != 1:
        return _materialise(cur, sql, name, params, append, writer)
    (dataset,) = names
    made = []

    class Watched:
        def sql(self, *args, **kwargs):
            return cur.sql(*args, **kwargs)

        def execute(self, statement, _):
            made.append(statement.removeprefix(f"CREATE OR REPLACE TABLE {name} AS "))

    def make():
        _materialise(Watched(), sql, name, params)
        return made

    (select,) = remembered(dataset, ["materialise", sql, tables_of(dataset)], make)
    cur.execute(f"CREATE OR REPLACE TABLE {name} AS {select}", params)


def write(cur, sql, bound, destination, config, isolated):
    """An answer's own table needs no layout."""
    reference = tables.reference(destination)
    if reference[1] != tables.RESULTS or isolated or len(sql) < WORTH_IT:
        return _write(cur, sql, bound, destination, config, isolated)
    with database.writing(*reference):
        results.materialise(cur, sql, tables.name(*reference), bound)


def install():
    query.parse = script.parse = parse
    script.parse_script = parse_script
    query.translate = translated
    query.from_duckdb = from_duckdb
    results.materialise = materialise
    query._write = write
