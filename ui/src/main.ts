import { mount } from "svelte";
import "uplot/dist/uPlot.min.css";
import "./look/tokens.css";
import "./look/base.css";
import App from "./App.svelte";
import { remembered, wear } from "./look/hues";

if (remembered() !== "auto") wear(remembered());

const target = document.getElementById("app");
if (target === null) throw new Error("index.html has no #app to fill.");
mount(App, { target });
