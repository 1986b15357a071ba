"""Peer: python-socketio as its documentation shows it; a room and `emit`."""

import sys

import socketio
import uvicorn
from fastapi import FastAPI, Request

app = FastAPI()
sio = socketio.AsyncServer(async_mode="asgi", ping_interval=10, ping_timeout=10)
seq = 0


@app.get("/")
async def root() -> dict[str, bool]:
    return {"up": True}


@sio.event
async def subscribe_training(sid: str, wish: dict[str, str]) -> dict[str, object]:
    await sio.enter_room(sid, wish["session_id"])
    return {"subscribed": wish}


@app.post("/metrics")
async def metrics(request: Request) -> dict[str, object]:
    global seq
    seq += 1
    number = seq
    data = await request.json()
    extra = data.get("extra") or {}
    progress = {  # the same nine figures our Socket.IO clients get
        "episode": data["episode"],
        "total_episodes": data["total_episodes"],
        "avg_reward": data["average_reward"],
        "avg_duration": extra.get("avg_duration"),
        "avg_cash": extra.get("avg_cash"),
        "avg_invested": extra.get("avg_invested"),
        "stability": extra.get("stability"),
        "goal_adherence": extra.get("goal_adherence"),
        "elapsed_time": data["training_time_elapsed"],
        "session_id": "peer",
        "seq": number,
    }
    await sio.emit("training_progress", progress, room="peer")
    return {"message": "recorded", "seq": number}


whole = socketio.ASGIApp(sio, app)
uvicorn.run(whole, port=int(sys.argv[1]), log_level="warning", access_log=False, backlog=4096)
