import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { comesBack, LiveSocket, waitBefore, type Back, type Envelope, type Link } from "../src/live/socket";

/** The browser's socket, played by hand. */
class PlayedSocket {
  static readonly made: PlayedSocket[] = [];
  readyState = 0;
  sent: string[] = [];
  onopen: (() => void) | null = null;
  onmessage: ((event: { data: unknown }) => void) | null = null;
  onclose: ((event: { code: number; reason: string }) => void) | null = null;

  constructor(
    readonly url: string,
    readonly protocols: readonly string[] = [],
  ) {
    PlayedSocket.made.push(this);
  }
  send(text: string): void {
    this.sent.push(text);
  }
  close(): void {
    this.readyState = 3;
  }
  opens(): void {
    this.readyState = 1;
    this.onopen?.();
  }
  says(type: string, seq: number | null, data: Record<string, unknown> = {}): void {
    const message = { type, seq, data, session_id: "s", timestamp: "2026-01-01T00:00:00Z" };
    this.onmessage?.({ data: JSON.stringify(message) });
  }
  ends(code: number, reason = ""): void {
    this.readyState = 3;
    this.onclose?.({ code, reason });
  }
}

function watch(token?: () => string | null): { links: Link[]; messages: Envelope[]; backs: Back[]; socket: LiveSocket } {
  const links: Link[] = [];
  const backs: Back[] = [];
  const messages: Envelope[] = [];
  const socket = new LiveSocket({
    url: "ws://host/ws/s",
    userName: "Ada L",
    ...(token === undefined ? {} : { token }),
    onLink: (link) => links.push(link),
    onBack: (back) => backs.push(back),
    onMessage: (message) => messages.push(message),
    makeSocket: (url, protocols) => new PlayedSocket(url, protocols) as unknown as WebSocket,
  });
  return { links, messages, backs, socket };
}
const newest = (): PlayedSocket => PlayedSocket.made.at(-1) as PlayedSocket;

describe("a live socket", () => {
  beforeEach(() => {
    vi.useFakeTimers();
    PlayedSocket.made.length = 0;
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it("remembers where it was and comes back from there", () => {
    const { links, messages } = watch();
    expect(newest().url).toBe("ws://host/ws/s?user_name=Ada+L");
    newest().opens();
    newest().says("connection_status", null, { event: "snapshot", last_seq: 40 });
    newest().says("training_metrics", 41);
    newest().ends(1006);
    expect(links.at(-1)).toMatchObject({ kind: "away", attempt: 1 });
    vi.advanceTimersByTime(600);
    expect(newest().url).toBe("ws://host/ws/s?user_name=Ada+L&since=41");
    newest().opens();
    newest().says("connection_status", null, { event: "snapshot", last_seq: 44 });
    expect(links.at(-1)).toMatchObject({ kind: "live" });
    // The snapshot tells of 44, but 42 to 44 are still to be replayed.
    newest().ends(1006);
    vi.advanceTimersByTime(600);
    expect(newest().url).toContain("since=41");
    expect(messages.map((m) => m.seq)).toEqual([null, 41, null]);
  });

  it.each([4401, 4403, 4404, 4409, 4410])("does not come back after %i", (code) => {
    const { links } = watch();
    newest().opens();
    newest().ends(code, "no");
    vi.advanceTimersByTime(120_000);
    expect(PlayedSocket.made.length).toBe(1);
    expect(links.at(-1)).toEqual({ kind: "refused", code, reason: "no" });
    expect(comesBack(code)).toBe(false);
  });

  it.each([4508, 1012, 1006, 1001])("comes back after %i", (code) => {
    watch();
    newest().opens();
    newest().ends(code);
    vi.advanceTimersByTime(600);
    expect(PlayedSocket.made.length).toBe(2);
  });

  it("waits as long as a busy server asks", () => {
    watch();
    newest().opens();
    newest().ends(4429, "come back in 20 seconds");
    vi.advanceTimersByTime(19_000);
    expect(PlayedSocket.made.length).toBe(1);
    vi.advanceTimersByTime(2_000);
    expect(PlayedSocket.made.length).toBe(2);
  });

  it("hands out what was missed, in order and once, and says how much it was", () => {
    const { links, messages, backs } = watch();
    newest().opens();
    newest().says("connection_status", null, { event: "snapshot", last_seq: 40 });
    newest().ends(1006);
    vi.advanceTimersByTime(600);
    newest().opens();
    newest().says("connection_status", null, { event: "snapshot", last_seq: 43 });
    newest().says("connection_status", null, { event: "recovered", recovered: true, since: 40, last_seq: 43 });
    expect(links.at(-1)).toMatchObject({ kind: "live", behind: 3 });
    for (const seq of [41, 42, 42, 41, 43]) {
      expect(backs).toEqual([]);
      newest().says("training_metrics", seq);
    }
    expect(backs).toEqual([{ whole: true, messages: 3 }]);
    expect(links.at(-1)).toMatchObject({ kind: "live", behind: 0 });
    expect(messages.map((m) => m.seq).filter((seq) => seq !== null)).toEqual([41, 42, 43]);
  });

  it("says so when what was missed cannot be had, and goes on from there", () => {
    const { messages, backs } = watch();
    newest().opens();
    newest().says("connection_status", null, { event: "snapshot", last_seq: 400 });
    newest().ends(1012);
    vi.advanceTimersByTime(600);
    newest().opens();
    // A store of another life, with fewer messages.
    newest().says("connection_status", null, { event: "snapshot", last_seq: 7 });
    newest().says("connection_status", null, { event: "recovered", recovered: false, since: 400, last_seq: 7 });
    expect(backs).toEqual([{ whole: false, messages: 0 }]);
    newest().says("training_metrics", 8);
    expect(messages.at(-1)?.seq).toBe(8);
  });

  it("does not run at a server that takes it in and throws it out", () => {
    const { links } = watch();
    const waits: number[] = [];
    for (let i = 0; i < 6; i += 1) {
      newest().opens();
      newest().says("connection_status", null, { event: "snapshot", last_seq: 1 });
      newest().ends(4508);
      const link = links.at(-1);
      if (link?.kind === "away") waits.push(link.attempt);
      vi.advanceTimersByTime(20_000);
    }
    expect(waits).toEqual([1, 2, 3, 4, 5, 6]);
    newest().opens();
    newest().says("connection_status", null, { event: "snapshot", last_seq: 1 });
    vi.advanceTimersByTime(6_000);
    newest().ends(1006);
    expect(links.at(-1)).toMatchObject({ kind: "away", attempt: 1 });
  });

  it("notices a connection that went silent", () => {
    const { links } = watch();
    newest().opens();
    newest().says("connection_status", null, { event: "snapshot", last_seq: 1 });
    vi.advanceTimersByTime(45_000);
    expect(PlayedSocket.made.length).toBeGreaterThan(1);
    expect(links.some((l) => l.kind === "away" && l.why.includes("silent"))).toBe(true);
  });

  it("hands binary messages on and takes them for none of the counted ones", () => {
    const binary: ArrayBuffer[] = [];
    const messages: Envelope[] = [];
    const socket = new LiveSocket({
      url: "ws://x/ws/s",
      userName: "",
      makeSocket: (url) => new PlayedSocket(url) as unknown as WebSocket,
      onMessage: (message) => messages.push(message),
      onLink: () => undefined,
      onBinary: (data) => binary.push(data),
    });
    newest().opens();
    newest().says("connection_status", null, { event: "snapshot", last_seq: 1 });
    const frame = new Uint8Array([0, 0, 0, 2]).buffer;
    newest().onmessage?.({ data: frame });
    newest().says("training_metrics", 2);
    expect(binary).toEqual([frame]);
    expect(messages.map((m) => m.seq)).toEqual([null, 2]);
    socket.close();
  });

  it("comes with its token, goes on with the next one, and says each once", () => {
    let token: string | null = "one";
    const { socket } = watch(() => token);
    expect(newest().protocols).toEqual(["grandstand", "token.one"]);
    expect(newest().url).not.toContain("one");
    newest().opens();
    socket.authorize();
    token = "two";
    socket.authorize();
    socket.authorize();
    const told = newest().sent.map((text) => JSON.parse(text)).filter((m) => m.type === "authorize");
    expect(told).toEqual([{ type: "authorize", token: "two" }]);
    newest().ends(1006);
    vi.advanceTimersByTime(600);
    expect(newest().protocols).toEqual(["grandstand", "token.two"]);
  });

  it("is not refused for a token that has been replaced by the time it hears of it", () => {
    let token: string | null = null;
    const { socket, links } = watch(() => token);
    newest().opens();
    token = "fresh"; // of the room just opened, which closed the session to all others
    socket.authorize();
    newest().ends(4401, "no");
    expect(newest().protocols).toEqual(["grandstand", "token.fresh"]);
    expect(links.some((link) => link.kind === "refused")).toBe(false);
    newest().ends(4401, "no");
    expect(links.at(-1)?.kind).toBe("refused");
    socket.close();
  });

  it.each([4401, 4403])("comes again after %i once it has another token", (code) => {
    let token: string | null = null;
    const { socket, links } = watch(() => token);
    expect(newest().protocols).toEqual([]);
    newest().opens();
    newest().says("connection_status", null, { event: "snapshot", last_seq: 7 });
    newest().ends(code, "no");
    socket.authorize();
    expect(PlayedSocket.made.length).toBe(1);
    token = "fresh";
    socket.authorize();
    expect(PlayedSocket.made.length).toBe(2);
    expect(newest().url).toContain("since=7");
    newest().opens();
    newest().says("connection_status", null, { event: "snapshot", last_seq: 7 });
    expect(links.at(-1)).toMatchObject({ kind: "live" });
  });

  it("leaves for good when told to", () => {
    const { socket, links } = watch();
    newest().opens();
    socket.close();
    vi.advanceTimersByTime(60_000);
    expect(PlayedSocket.made.length).toBe(1);
    expect(links.at(-1)).toEqual({ kind: "closed" });
  });

  it("waits longer each time, spread and bounded", () => {
    expect(waitBefore(1, 0)).toBe(250);
    expect(waitBefore(1, 1)).toBe(500);
    expect(waitBefore(4, 1)).toBe(4000);
    expect(waitBefore(30, 1)).toBe(15_000);
  });
});
