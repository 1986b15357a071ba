// A watcher that speaks Socket.IO: prints what it hears, a JSON array [event, data] a line.
// node socketio_client.cjs URL TRANSPORT, with socket.io-client on NODE_PATH. A line on standard
// input is a subscribe_training payload; its acknowledgement is printed as ["ack", answer].

const { createInterface } = require("node:readline");
const { io } = require("socket.io-client");

const [url, transport] = process.argv.slice(2);
const say = (event, data) => process.stdout.write(`${JSON.stringify([event, data])}\n`);
const socket = io(url, { transports: [transport], reconnection: false });

socket.onAny(say);
socket.on("connect_error", (error) => say("connect_error", error.message));
socket.on("disconnect", (reason) => say("disconnect", reason));
createInterface({ input: process.stdin })
  .on("line", (line) => {
    socket.emit("subscribe_training", JSON.parse(line), (answer) => say("ack", answer));
  })
  .on("close", () => process.exit(0));
