"""Peer: what most people write first. FastAPI, a set of sockets, a loop that awaits each send."""

import json
import sys
from datetime import UTC, datetime

import uvicorn
from fastapi import FastAPI, WebSocket, WebSocketDisconnect
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
sockets: set[WebSocket] = set()
seq = 0


def message(kind: str, number: int | None, data: object) -> str:
    at = datetime.now(UTC).isoformat()
    return json.dumps(
        {"type": kind, "session_id": "peer", "seq": number, "timestamp": at, "data": data}
    )


@app.get("/")
async def root() -> dict[str, bool]:
    return {"up": True}


@app.websocket("/ws")
async def watch(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text(message("connection_status", None, {"last_seq": seq}))
    sockets.add(websocket)
    try:
        while True:
            await websocket.receive_text()
    except WebSocketDisconnect:
        sockets.discard(websocket)


@app.post("/metrics")
async def metrics(body: Metrics) -> dict[str, object]:
    global seq
    seq += 1
    number = seq
    text = message("training_metrics", number, body.model_dump())
    for websocket in list(sockets):
        await websocket.send_text(text)
    return {"message": "recorded", "seq": number}


uvicorn.run(app, port=int(sys.argv[1]), log_level="warning", access_log=False, backlog=4096)
