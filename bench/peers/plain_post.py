"""Peer: FastAPI and pydantic, a route that validates a record and stores nothing."""

import sys

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel


class Metrics(BaseModel):
    model_config = {"extra": "forbid", "protected_namespaces": ()}

    episode: int
    step: int | None = None
    total_episodes: int | None = None
    current_reward: float | None = None
    average_reward: float | None = None
    best_reward: float | None = None
    episode_length: float | None = None
    win_rate: float | None = None
    loss_value: float | None = None
    learning_rate: float | None = None
    epsilon: float | None = None
    training_time_elapsed: float | None = None
    actions_per_second: float | None = None
    memory_usage_mb: float | None = None
    extra: dict[str, float] | None = None


app = FastAPI()
seq = 0


@app.get("/")
async def root() -> dict[str, bool]:
    return {"up": True}


@app.post("/metrics")
async def metrics(body: Metrics) -> dict[str, object]:
    global seq
    seq += 1
    return {"message": "recorded", "seq": seq}


uvicorn.run(app, port=int(sys.argv[1]), log_level="warning", access_log=False)
