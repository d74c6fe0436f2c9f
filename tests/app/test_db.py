"""The end of an engine."""

from sqlalchemy import text

from app.db import close, make_engine


def test_a_connection_in_use_is_closed_when_it_comes_back(database_url: str) -> None:
    engine = make_engine(database_url)
    held, idle = engine.connect(), engine.connect()
    wires = [one.connection.dbapi_connection for one in (held, idle)]
    idle.close()
    close(engine)
    assert [wire.closed for wire in wires if wire is not None] == [False, True]
    assert held.scalar(text("select 1")) == 1
    held.close()
    assert [wire.closed for wire in wires if wire is not None] == [True, True]
