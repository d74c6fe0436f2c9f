"""Rows to plans and results to rows: the only room that sees both tables and what trainers make.

Each job has a `..._plan`, read in one short transaction before the work, and a `record_...`, written in another after
it together with the fenced end of the job. A plan holds all that the work needs; no transaction is open meanwhile.
"""
