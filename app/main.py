"""The web application: assembled here, decided elsewhere."""

import gc
import multiprocessing
import signal
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from anyio.to_thread import current_default_thread_limiter
from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles
from sqlalchemy import Engine

from app import launch, logs, resources
from app.broker import BrokerSender
from app.db import POOL_SIZE, close, make_engine, make_session_factory
from app.limiting import Limiter
from app.settings import Settings
from app.web import (
    api_contests,
    api_data,
    api_labeling,
    api_models,
    api_people,
    api_runs,
    compare,
    contests,
    dashboard,
    data,
    data_in,
    data_out,
    events,
    health,
    labeling,
    lineage,
    login,
    me,
    new_run,
    openapi,
    pages,
    people,
    playground,
    probes,
    problems,
    quality,
    report,
    runs,
    samples,
    tasks,
)
from app.web.meters import Meters
from app.web.request_watch import RequestWatch
from app.web.security import CrossOriginRefusal, SecurityHeaders
from app.web.short_way import ShortWay
from app.web.watching import Watches

TRUSTED_SECONDS = 2.0
"""A database connection used so recently is taken to be alive."""
DESK_THREADS = 16
"""Requests of labelers that are worked on at once; more would wait for Python's lock and hold each other up."""
MOST_BODY_BYTES = 2 * 2**20
"""Of a request; uploads say their own."""

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


def create_app(settings: Settings | None = None) -> FastAPI:
    """The site and its API on the database and broker that `settings` name.

    Args:
        settings: None, as a server starts it: those of the environment, which then say how this process logs, too.
    """
    is_server = settings is None
    if settings is None:
        settings = Settings()
        logs.configure(settings.log_level, settings.log_format)
        _die_with_server()
    engine = make_engine(settings.need_database_url(), trusted_seconds=TRUSTED_SECONDS)
    app = FastAPI(
        title="Prefloop",
        version="1",
        openapi_url="/api/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=lambda route: route.name,
        lifespan=_closing(engine),
    )
    sender = BrokerSender(settings.broker_url) if settings.broker_url else None
    app.state.settings = settings
    app.state.session_factory = make_session_factory(engine, sender)
    app.state.templates = pages.load_templates()
    app.state.limiter = Limiter(engine, labels_per_minute=settings.labels_per_minute)
    app.state.meters = Meters(app.state.session_factory, settings.home, settings.metrics_dir)
    app.state.watches = Watches()
    app.state.desk_threads = ThreadPoolExecutor(DESK_THREADS, "desk")
    problems.install(app, most_body_bytes=MOST_BODY_BYTES)
    app.add_middleware(ShortWay, routes=api_labeling.waited_for.routes, most_body_bytes=MOST_BODY_BYTES)
    app.add_middleware(CrossOriginRefusal, public_url=settings.public_url)
    app.add_middleware(RequestWatch, meters=app.state.meters)
    app.add_middleware(SecurityHeaders, https=settings.site_url.startswith("https:"))  # outermost: on every answer
    _include_routes(app)
    openapi.install(app)
    if is_server:
        gc.collect()
        gc.freeze()  # what the site is made of stays as long as it does: no later collection need look through it
    return app


def _include_routes(app: FastAPI) -> None:
    app.include_router(api_labeling.waited_for)  # first: the framework tries routes one by one
    for module in (
        login,
        me,
        people,
        labeling,
        compare,
        contests,
        report,
        playground,
        probes,
        new_run,
        lineage,
        tasks,
        runs,
        quality,
        samples,
        dashboard,
        events,
        data,
        data_in,
        data_out,
        api_labeling,
        api_runs,
        api_models,
        api_contests,
        api_data,
        api_people,
        health,
    ):
        app.include_router(module.router)
    app.mount("/static", StaticFiles(directory=resources.folder("static")))  # last: routers serve some of it


def _die_with_server() -> None:
    """One of several processes of a server must not outlive it: it would keep the port from the next."""
    server = multiprocessing.parent_process()
    if server is not None and server.pid is not None:
        launch.die_with_parent(signal.SIGKILL, server.pid)


def _closing(engine: Engine) -> Lifespan:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        current_default_thread_limiter().total_tokens = POOL_SIZE - DESK_THREADS  # of the threads for all else
        yield
        app.state.desk_threads.shutdown(wait=False)
        close(engine)  # a look or a label may still be under way in a thread

    return lifespan
