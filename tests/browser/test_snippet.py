"""A plain WebSocket in somebody's own page, written as the product's document shows it."""

from __future__ import annotations

from .conftest import OpenPage, Server

CLIENT = """
(session) => {
  window.seen = {training_metrics: [], bot_decision: [], graph_update: []};
  const address = location.origin.replace("http", "ws");
  const ws = new WebSocket(`${address}/ws/${session}?user_name=Spectator1`);
  ws.onmessage = (event) => {
    const message = JSON.parse(event.data);
    switch (message.type) {
      case "training_metrics":
      case "bot_decision":
      case "graph_update":
        window.seen[message.type].push(message.data);
        break;
      case "connection_status":
        window.connected = message.data.status === "connected";
    }
  };
}
"""


def test_the_documented_client_sees_what_is_reported(server: Server, open_page: OpenPage) -> None:
    session = server.open_session("snippet")
    page = open_page("/", bypass_csp=True)  # as a page of somebody else has another policy
    page.evaluate(CLIENT, session)
    page.wait_for_function("window.connected === true")
    server.report(session, episode=1, current_reward=1.5)
    probabilities = {"left": 0.25, "right": 0.75}
    server.report(
        session, "bot_decision", action_probabilities=probabilities, selected_action="right"
    )
    points = {"mean": [{"timestamp": "2026-05-01T10:00:00Z", "value": 2.0}]}
    server.report(session, "graph_update", graph_id="q", title="Q", data_points=points)
    page.wait_for_function("Object.values(window.seen).every((list) => list.length === 1)")
    seen = page.evaluate("window.seen")
    assert seen["training_metrics"][0]["current_reward"] == 1.5
    assert seen["bot_decision"][0]["action_probabilities"] == probabilities
    assert seen["graph_update"][0]["graph_id"] == "q"
