"""Remembers how local-bigquery translates a question for DuckDB, which is most of a question's time.

Our questions are few and long, and each dataset asks the same ones. A translation holds for the text (without the
dataset's name), the types of its parameters, and the dataset's tables: their columns and partitions; in a script for the
temporary tables made before it, too. What else a rule of local-bigquery looks at (sessions, variables) is not remembered.
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

MADE = re.compile(r"CREATE TEMP TABLE (\w+) AS\s")

_parse, _parse_script, _translate = query.parse, script.parse_script, query.translate
_from_duckdb, _materialise, _write = query.from_duckdb, results.materialise, query._write
known = {}


class Question(exp.Select):
    """A SELECT whose text is parsed only where its translation is not known."""


def questions(sql):
    """The statements of a long question: one SELECT, or a script that makes temporary tables before it; else nothing."""
    if len(sql) < WORTH_IT:
        return []
    ends = [token.start() for token in TOKEN.finditer(sql) if token[0] == ";"]
    statements = [sql[begin:end].strip() for begin, end in zip([0, *(end + 1 for end in ends)], [*ends, len(sql)])]
    *made, last = statements
    is_ours = all(MADE.match(statement) for statement in made) and last[:6].upper().startswith(("WITH", "SELECT"))
    return statements if is_ours else []


def parse_script(sql):
    return [script.Statement("SQL", statement) for statement in questions(sql)] or _parse_script(sql)


def parse(sql):
    made = MADE.match(sql)
    if not made and len(questions(sql)) != 1:
        return _parse(sql)
    tree = Question()
    if made:
        temporary = exp.Properties(expressions=[exp.TemporaryProperty()])
        tree = exp.Create(this=exp.to_table(made[1]), kind="TABLE", properties=temporary, expression=tree)
    tree.meta["text"] = sql
    return [tree]


def parsed(tree):
    return _parse(tree.meta["text"])[0] if tree is not None and "text" in tree.meta else tree


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
    text = tree.meta.get("text", "")
    made = context.__dict__.setdefault("made", {})
    names = set(DATASET.findall("".join([text, *made.values()])))
    plain = not (context.temporary - made.keys() or context.variables or context.settings or context.functions)
    if not text or len(names) != 1 or not plain:
        return _translate(parsed(tree), context)
    (dataset,) = names
    parts = [text, context.parameters, context.project_id, context.dataset_id, tables_of(dataset), list(made.values())]

    def make():
        sql, _ = _translate(parsed(tree), context)
        referenced = [part for reference in sorted(context.referenced) for part in reference]
        return [sql, " ".join(sorted(context.used)), *referenced]

    sql, used, *referenced = remembered(dataset, parts, make)
    context.referenced.update(zip(*[iter(referenced)] * 3))
    if name := MADE.match(text):
        made[name[1]] = text
        context.temporary.add(name[1])
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
